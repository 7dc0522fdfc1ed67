"""From reviews to arrays: tokens, split, vocabulary, cache, batches; and what broken input does to them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import spacy
from conftest import REAL_DATA, write_corpus, write_vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import files
from lab.config import Config
from lab.data import cache, summary, text, vectors
from lab.data.reviews import PARTS, Reviews, batches
from lab.errors import LabError

CONFIG = Config(EMBEDDING_DIM=50)


def words_of(dataset, reviews, index):
    return [dataset.vocabulary[token] for token in reviews[index]]


def test_tokens_are_spacys():
    raw = 'It wasn\'t good.<br /><br />A <BR/>10/10, U.S. film — "déjà vu"  '
    nlp = spacy.blank("en")
    cleaned = raw.replace("<br />", " ").replace("<BR/>", " ")
    assert text.tokenize(raw) == [token.text.lower() for token in nlp(cleaned) if not token.text.isspace()]
    assert text.tokenize("It wasn't good.<br />Bad") == ["it", "was", "n't", "good", ".", "bad"]


def test_workers_change_nothing(monkeypatch):
    texts = [f"Review number {number} isn't long." for number in range(60)]
    names = [str(number) for number in range(60)]
    alone = text.tokenize_all(texts, names, "alone")
    monkeypatch.setattr(text, "CHUNK", 7)  # 60 > 8 * 7: worker processes take over
    together = text.tokenize_all(texts, names, "together")
    assert alone[0] == together[0]
    for mine, theirs in zip(alone[1:], together[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_encoded_reviews_spell_the_text(corpus):
    dataset = cache.load(CONFIG)
    assert dataset.sizes == {"train": 32, "valid": 8, "test": 40}
    for name, reviews in (("train", dataset.train), ("train", dataset.valid), ("test", dataset.test)):
        for index in range(reviews.n):
            path = corpus / "aclImdb" / name / f"{reviews.name(index)}.txt"
            tokens = text.tokenize(path.read_text())
            expected = [word if word in dataset.vocabulary else "<unk>" for word in tokens]
            assert words_of(dataset, reviews, index) == expected
            assert reviews.lengths[index] == len(tokens)


def test_vocabulary_is_the_training_parts_most_frequent(corpus):
    dataset = cache.load(CONFIG)
    assert dataset.vocabulary[:2] == ["<pad>", "<unk>"]
    counts = Counter(word for index in range(dataset.train.n) for word in words_of(dataset, dataset.train, index))
    assert set(dataset.vocabulary[2:]) == set(counts)
    assert [counts[word] for word in dataset.vocabulary[2:]] == sorted(counts.values(), reverse=True)
    assert dataset.counts[2:].tolist() == [counts[word] for word in dataset.vocabulary[2:]]
    small = cache.load(Config(EMBEDDING_DIM=50, VOCAB_SIZE=10))
    assert small.vocabulary == dataset.vocabulary[:12]
    assert (small.train.tokens < 12).all()


def test_split_is_stratified_by_seed_and_disjoint(corpus):
    def names(seed):
        dataset = cache.load(Config(EMBEDDING_DIM=50, SEED=seed))
        assert dataset.train.labels.mean() == dataset.valid.labels.mean() == dataset.test.labels.mean() == 0.5
        return [{reviews.name(index) for index in range(reviews.n)} for reviews in (dataset.train, dataset.valid)]

    train, valid = names(2077)
    assert len(train) == 32
    assert not train & valid
    assert names(2077) == [train, valid]
    assert names(2078) != [train, valid]


def test_cache_is_used_until_anything_that_goes_in_changes(corpus, monkeypatch):
    first = cache.load(CONFIG)
    written = (first.folder / "meta.json").stat().st_mtime_ns
    assert cache.load(CONFIG).fingerprint == first.fingerprint
    assert (first.folder / "meta.json").stat().st_mtime_ns == written

    assert cache.load(Config(EMBEDDING_DIM=50, VOCAB_SIZE=10)).fingerprint != first.fingerprint
    monkeypatch.setattr(text, "RULES", text.RULES + 1)
    assert cache.load(CONFIG).fingerprint != first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("LAB_HOME", str(files.home()))
    monkeypatch.setenv("LAB_DATA", str(corpus))
    (corpus / "aclImdb/train/pos/0_9.txt").write_text("Another review, lovely.")
    assert cache.load(CONFIG).fingerprint != first.fingerprint


def test_cache_serves_where_the_sources_are_gone(corpus, tmp_path, monkeypatch):
    dataset = cache.load(CONFIG)
    table, _ = vectors.load(CONFIG, dataset)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "empty"))
    again = cache.load(CONFIG)
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(vectors.load(CONFIG, again)[0], table)


def test_arrays_hold_no_objects(corpus):
    folder = cache.load(CONFIG).folder
    for path in folder.parent.rglob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype.kind in "iu"
    assert not list(folder.parent.rglob(".*"))  # no temporary file left


def test_rows_of_the_embedding(corpus):
    dataset = cache.load(CONFIG)
    table, facts = vectors.load(CONFIG, dataset)
    assert table.shape == (len(dataset.vocabulary), 50)
    assert (table[0] == 0).all()
    np.testing.assert_allclose(table[1], table[2:].astype(float).mean(0), atol=1e-5)
    known = {line.split()[0]: line.split()[1:] for line in (corpus / "glove.6B.50d.txt").read_text().splitlines()}
    covered = [word in known for word in dataset.vocabulary]
    for number in np.flatnonzero(covered):
        np.testing.assert_allclose(table[number], np.array(known[dataset.vocabulary[number]], dtype=float), atol=1e-6)
    assert facts["words"] == len(known)
    assert facts["complete"] is False
    assert facts["covered_words"] == pytest.approx(np.mean(covered[2:]))
    assert facts["covered_tokens"] == pytest.approx(dataset.counts[covered].sum() / dataset.counts.sum())
    rest = table[2:][~np.array(covered[2:])]
    assert rest.std() == pytest.approx(table[covered].std(), rel=0.1)
    np.testing.assert_array_equal(vectors.load(CONFIG, dataset)[0], table)


def test_random_vectors_need_no_file(corpus):
    config = Config(EMBEDDING_DIM=7, VECTORS="random")
    table, facts = vectors.load(config, cache.load(config))
    assert table.shape[1] == 7
    assert (table[0] == 0).all()
    assert np.abs(table[1]).max() < np.abs(table[2:]).max() / 2
    assert facts["covered_tokens"] == 0


def test_changed_vectors_are_read_anew(corpus):
    dataset = cache.load(CONFIG)
    before = vectors.load(CONFIG, dataset)[0]
    write_vectors(corpus / "glove.6B.50d.txt", words=["the", "good"])
    assert vectors.load(CONFIG, dataset)[1]["words"] == 2
    assert not np.array_equal(vectors.load(CONFIG, dataset)[0], before)


def made_of(lengths):
    """Reviews of these lengths, no token like another, labels in turn."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    blank = np.zeros(len(lengths), dtype=np.uint8)
    return Reviews(tokens, offsets, np.arange(len(lengths), dtype=np.uint8) % 2, blank, blank, blank)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    seed=st.one_of(st.none(), st.integers(0, 99)),
)
def test_batches_hold_every_review_once(lengths, batch_size, seed):
    reviews = made_of(lengths)
    tokens, offsets = reviews.tokens, reviews.offsets
    seen = []
    for batch in batches(reviews, batch_size, seed):
        assert batch.tokens.shape == (batch.lengths.max(), len(batch.index))
        assert len(batch.index) <= batch_size
        for column, index in enumerate(batch.index):
            length = lengths[index]
            assert batch.tokens[:length, column].tolist() == tokens[offsets[index] : offsets[index + 1]].tolist()
            assert not batch.tokens[length:, column].any()
            assert batch.labels[column] == index % 2
        seen.extend(batch.index)
    assert sorted(seen) == list(range(len(lengths)))


def test_batches_waste_little_and_follow_the_seed(corpus):
    reviews = cache.load(CONFIG).test
    padding = sum((batch.tokens == 0).sum().item() for batch in batches(reviews, 4, 1))
    assert padding < 0.2 * len(reviews.tokens)
    order = [[batch.index.tolist() for batch in batches(reviews, 4, seed)] for seed in (1, 1, 2)]
    assert order[0] == order[1] != order[2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "空的"), (b" <br /><br /> \n", "空的"), (b"fine \xff\xfe", "第6个字节不是UTF-8")],
    ids=["empty", "breaks-only", "bytes"],
)
def test_bad_review_is_named(corpus, content, reason):
    (corpus / "aclImdb/train/neg/3_2.txt").write_bytes(content)
    with pytest.raises(LabError, match=reason) as caught:
        cache.load(CONFIG)
    assert "3_2.txt" in str(caught.value)
    assert not list(files.cache_dir("aclImdb").glob("*train*"))


def test_review_of_too_many_tokens_is_named(corpus):
    path = corpus / "aclImdb/train/neg/3_2.txt"
    path.write_text("bad " * 65_535)
    dataset = cache.load(CONFIG)
    assert max(dataset.train.lengths.max(), dataset.valid.lengths.max()) == 65_535
    path.write_text("bad " * 65_536)
    with pytest.raises(LabError, match=r"3_2\.txt有65,536个词元"):
        cache.load(CONFIG)


@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_tiny_corpus_is_one_line(home, tmp_path, monkeypatch, per_class):
    monkeypatch.setenv("LAB_DATA", str(write_corpus(tmp_path / "given", per_class)))
    with pytest.raises(LabError, match=f"训练影评太少：负面{per_class}篇，正面{per_class}篇"):
        cache.load(CONFIG)


def test_smallest_corpus(home, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(write_corpus(tmp_path / "given", 5)))
    dataset = cache.load(CONFIG)
    assert dataset.sizes == {"train": 8, "valid": 2, "test": 10}
    assert dataset.valid.labels.tolist() == [0, 1]
    summary.write(CONFIG, dataset)


def test_review_of_unknown_words_only_is_kept(corpus):
    (corpus / "aclImdb/test/neg/3_2.txt").write_text("Xyzzy qwertz plugh")
    dataset = cache.load(CONFIG)
    place = next(index for index in range(dataset.test.n) if dataset.test.name(index) == "neg/3_2")
    assert dataset.test[place].tolist() == [1, 1, 1]


def test_a_review_cannot_write_padding(corpus):
    (corpus / "aclImdb/train/neg/3_2.txt").write_text("<pad> <unk> pad")
    dataset = cache.load(CONFIG)
    for reviews in (dataset.train, dataset.valid, dataset.test):
        assert (reviews.tokens > 0).all()


def test_full_disk_while_the_cache_is_written(corpus):
    # A limit on the size of files makes real writes fail in the middle.
    code = "from lab.data import cache; from lab.config import Config; cache.load(Config(EMBEDDING_DIM=50))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"TQDM_DISABLE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        check=False,
    )
    assert done.returncode == 1
    assert "无法写入" in done.stderr.splitlines()[-1]
    assert not list(files.cache_dir("aclImdb").glob(".*"))  # nothing half written
    assert not list(files.cache_dir("aclImdb").glob("encoded-*"))
    assert cache.load(CONFIG).sizes["train"] == 32  # the next start works


def test_summary_counts(corpus):
    repeated = (corpus / "aclImdb/train/pos/1_9.txt").read_text()
    (corpus / "aclImdb/test/pos/5_9.txt").write_text(repeated)
    dataset = cache.load(CONFIG)
    facts = summary.write(CONFIG, dataset)
    assert facts == files.read_json(files.result_path("aclImdb", "data"))
    assert facts["repeated"] == facts["repeated_across_test"] == 1
    for part in PARTS:
        assert sum(facts["length_counts"][part]) == dataset.sizes[part]
    assert facts["tokens"]["train"] == dataset.counts.sum()


@pytest.mark.skipif(REAL_DATA is None, reason="needs the real reviews: set LAB_DATA")
def test_real_reviews(home, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(REAL_DATA))
    monkeypatch.delenv("LAB_SMALL")  # all of aclImdb, and no more
    dataset = cache.load(Config())
    assert dataset.sizes == {"train": 20_000, "valid": 5_000, "test": 25_000}
    facts = summary.describe(Config(), dataset)
    assert facts["repeated"] == 50_000 - 49_582  # distinct labelled texts of aclImdb
    _, vector_facts = vectors.load(Config(), dataset)
    assert vector_facts["covered_tokens"] > 0.8
