"""The built-in corpus: repeatable, in aclImdb's layout, with vectors of its own, and hard in the ways it promises."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from lab.data import sample, sources, text, vectors
from lab.errors import LabError

SIZE = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "made"
    sample.write(path, SIZE)
    return path


@pytest.fixture(scope="module")
def train():
    """Labels and texts of a training part big enough for shares to be told apart."""
    return [(label, review) for label, _, _, review in sample.reviews("train", 2000)]


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(part, size=SIZE, seed=sample.DEFAULT_SEED):
    return [review for *_, review in sample.reviews(part, size, seed)]


def sides(review):
    """How many words of praise and of blame a review holds."""
    words = set(text.tokenize(review))
    return [sum(alternative[0] in words for alternative in sample.RULES[name]) for name in ("adj-", "adj+")]


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
    sample.write(tmp_path / "other", 100, seed=1)
    assert not set(content(tmp_path / "other").values()) & set(content(folder).values())


def test_a_larger_corpus_only_adds_reviews():
    for part in ("train", "test", "unsup"):
        small, large = texts(part), texts(part, 2 * SIZE)
        assert len(large) == 2 * len(small)
        assert large[: len(small)] == small


def test_lengths_are_skewed_and_within_limits(train):
    lengths = np.array([len(text.tokenize(review)) for _, review in train])
    assert lengths.min() >= sample.SHORTEST - 2  # spaCy splits a few words otherwise than the generator
    assert lengths.max() <= sample.LONGEST
    assert lengths.max() > 3 * lengths.mean()
    assert lengths.mean() > np.median(lengths)


def test_no_review_is_too_long_however_long_it_wants_to_be(monkeypatch):
    monkeypatch.setattr(sample, "TYPICAL", 10_000)
    lengths = [len(text.tokenize(review)) for review in texts("train", 50)]
    assert 300 < min(lengths)
    assert max(lengths) <= sample.LONGEST


def test_tokens_for_the_vectors_are_nearly_spacys(train):
    same = [sample.tokens(review) == text.tokenize(review) for _, review in train[:300]]
    assert np.mean(same) > 0.9


def test_train_and_test_share_next_to_nothing(train):
    reviews, held_out = {review for _, review in train}, texts("test", 2000)
    assert sum(review in reviews for review in held_out) < 0.01 * len(held_out)
    assert len(reviews) > 0.99 * len(train)


def test_reviews_have_what_makes_them_hard(train):
    share = {
        pattern: np.mean([bool(re.search(pattern, review)) for _, review in train])
        for pattern in (r"n't | not |anything but|nothing", r"<br /><br />", r"[A-Z]{4,}", r"!")
    }
    assert all(0.02 < found < 0.9 for found in share.values()), share
    both = np.mean([min(sides(review)) > 0 for _, review in train])
    assert 0.2 < both < 0.9  # praise and blame in one review
    told = [
        (praise > blame) == label for label, review in train for blame, praise in [sides(review)] if praise != blame
    ]
    assert 0.5 < np.mean(told) < 0.7  # counting them does not tell the verdict


def test_words_without_order_tell_much_but_not_all(train):
    counts = CountVectorizer(analyzer=text.tokenize)
    labels, reviews = zip(*train, strict=True)
    model = LogisticRegression(C=0.1, max_iter=1000).fit(counts.fit_transform(reviews), labels)
    held_out = [(label, review) for label, _, _, review in sample.reviews("test", 2000)]
    accuracy = model.score(counts.transform([review for _, review in held_out]), [label for label, _ in held_out])
    assert 0.8 < accuracy < 1 - 1.5 * sample.NOISE


def test_a_verdict_can_stand_far_from_the_end(train):
    opening = re.compile(r"All in all|Overall,|My verdict|As a whole|Believe me|For me,")
    behind = [len(text.tokenize(review[found.start() :])) for _, review in train if (found := opening.search(review))]
    assert np.mean(np.array(behind) < 15) > 0.15  # at the end
    assert np.mean(np.array(behind) > 40) > 0.15  # far from it


def test_a_small_share_is_filed_under_the_wrong_label(monkeypatch):
    noisy = list(sample.reviews("train", 2000))
    monkeypatch.setattr(sample, "NOISE", 0.0)
    clean = list(sample.reviews("train", 2000))
    assert [each[:3] for each in noisy] == [each[:3] for each in clean]
    changed = np.mean([one[3] != other[3] for one, other in zip(noisy, clean, strict=True)])
    assert changed == pytest.approx(0.04, abs=0.015)


def test_vectors_are_gloves_format_and_do_not_know_every_word(folder):
    words = {word for review in texts("train") for word in text.tokenize(review)}
    number = {word: place for place, word in enumerate(sorted(words))}
    for dim in sample.DIMENSIONS:
        rows, numbers, _ = vectors.read(folder / f"glove.6B.{dim}d.txt", dim, number)
        assert rows.shape[1] == dim
        assert 50 < len(numbers) < len(words)
        assert rows.std() == pytest.approx(sample.SPACING, rel=0.2)
        for line in (folder / f"glove.6B.{dim}d.txt").read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"\S+( -?\d+\.\d{5})+", line)


def test_vectors_put_words_of_one_kind_together():
    words, table = sample.vectors(texts("train", 1000) + texts("unsup", 1000))
    row = {word: table[i] / np.linalg.norm(table[i]) for i, word in enumerate(words)}
    kinds = [
        ("paris", "vienna", "chicago"),
        ("anna", "jack", "maria"),
        ("two", "three", "four"),
        ("wife", "brother", "sister"),
    ]
    inside = [row[a] @ row[b] for kind in kinds for a, b in itertools.combinations(kind, 2)]
    across = [row[a] @ row[b] for one, other in itertools.combinations(kinds, 2) for a in one for b in other]
    assert np.mean(inside) > np.mean(across) + 0.1


def test_broken_off_writing_leaves_nothing(tmp_path, monkeypatch):
    real = sample.reviews
    monkeypatch.setattr(sample, "reviews", lambda *rest: itertools.chain(itertools.islice(real(*rest), 5), broken()))

    def broken():
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(LabError, match="无法写入"):
        sample.write(tmp_path / "made", SIZE)
    assert not list(tmp_path.iterdir())


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(LabError, match="3太少"):
        sample.write(tmp_path / "made", 3)
    (tmp_path / "kept").mkdir()
    with pytest.raises(LabError, match="已经存在"):
        sample.write(tmp_path / "kept", SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
