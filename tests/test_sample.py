"""The built-in corpus: repeatable, in aclImdb's layout, with vectors of its own."""

from __future__ import annotations

import itertools

import pytest

from lab import sample, sources, text, vectors
from lab.errors import LabError

SIZE = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "made"
    sample.write(path, SIZE)
    return path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(part, size=SIZE, seed=sample.DEFAULT_SEED):
    return [review for *_, review in sample.reviews(part, size, seed)]


def test_layout_and_sizes(folder):
    found = sources.read_reviews(folder / "aclImdb", ("train", "test", "unsup"))
    assert {part: len(reviews) for part, reviews in found.items()} == {"train": 300, "test": 150, "unsup": 150}
    for part in ("train", "test"):
        assert sum(review.label for review in found[part]) == len(found[part]) / 2
        assert all(7 <= review.rating <= 10 if review.label else 1 <= review.rating <= 4 for review in found[part])
    assert {path.name for path in folder.iterdir()} == {"aclImdb", "glove.6B.100d.txt", "glove.6B.300d.txt"}


def test_same_seed_same_bytes(folder, tmp_path):
    sample.write(tmp_path / "again", SIZE)
    assert content(tmp_path / "again") == content(folder)
    assert texts("train", seed=1) != texts("train")
    assert texts("train", size=400)[:SIZE] == texts("train")  # a larger corpus only adds reviews


def test_reviews_are_worth_reading():
    train, test = texts("train", 2000), texts("test", 2000)
    lengths = [len(text.tokenize(review)) for review in train]
    assert min(lengths) >= 15
    assert max(lengths) <= 420
    assert len(set(train) & set(test)) < 0.01 * len(test)
    joined = " ".join(train)
    assert "<br /><br />" in joined
    assert "n't" in joined or " not " in joined
    assert any(char.isupper() for char in joined)


def test_vectors_are_gloves_format_and_do_not_know_every_word(folder):
    words = {word for review in texts("train") for word in text.tokenize(review)}
    number = {word: place for place, word in enumerate(sorted(words))}
    for dim in sample.DIMENSIONS:
        rows, numbers, _ = vectors.read(folder / f"glove.6B.{dim}d.txt", dim, number)
        assert rows.shape[1] == dim
        assert 50 < len(numbers) < len(words)
        assert rows.std() == pytest.approx(sample.SPACING, rel=0.2)


def test_broken_off_writing_leaves_nothing(tmp_path, monkeypatch):
    real = sample.reviews
    monkeypatch.setattr(sample, "reviews", lambda *rest: itertools.chain(itertools.islice(real(*rest), 5), broken()))

    def broken():
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(LabError, match="写不了"):
        sample.write(tmp_path / "made", SIZE)
    assert not list(tmp_path.iterdir())
    with pytest.raises(LabError, match="太少"):
        sample.write(tmp_path / "made", 3)
