"""The linear control against scikit-learn's own vectorizer on the text, end to end and part by part."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lab import files
from lab.config import Config
from lab.data import cache
from lab.data.reviews import Reviews
from lab.results import evidence
from lab.training import linear

REVIEWS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=12), min_size=1, max_size=12)


def as_reviews(reviews):
    """``Reviews`` of lists of word numbers."""
    n = len(reviews)
    return Reviews(
        np.array([token for review in reviews for token in review], dtype=np.int32),
        np.concatenate([[0], np.cumsum([len(review) for review in reviews])]).astype(np.int64),
        labels=np.arange(n, dtype=np.uint8) % 2,
        numbers=np.arange(n, dtype=np.int32),
        ratings=np.ones(n, dtype=np.uint8),
        digests=np.arange(n, dtype=np.uint64),
    )


def words_and_pairs(review):
    """The terms of a review, as the definition says."""
    return [*review, *((a + 1) * 2**31 + b for a, b in pairwise(review))]


@given(REVIEWS, REVIEWS)
def test_counts_are_those_of_a_vectorizer(reviews, others):
    reviews = [*reviews, [1, 2], [2]]  # "2" is a term at least: a vectorizer refuses to have none
    terms, counts = linear.count_terms(as_reviews(reviews))
    again, unseen = linear.count_terms(as_reviews(others), terms)
    vectorizer = CountVectorizer(analyzer=words_and_pairs, min_df=linear.MIN_REVIEWS)
    expected = vectorizer.fit_transform(reviews)
    assert terms.tolist() == vectorizer.get_feature_names_out().tolist()
    assert (counts.toarray() == expected.toarray()).all()
    assert again is terms
    assert (unseen.toarray() == vectorizer.transform(others).toarray()).all()


def test_no_pair_reaches_across_two_reviews():
    terms, counts = linear.count_terms(as_reviews([[1, 2], [1, 2], [2, 1]]))
    assert terms.tolist() == [1, 2, 2 * 2**31 + 2]  # "1", "2", "1 2"; "2 1" stands in one review only
    assert counts.toarray().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]


def test_the_largest_vocabulary_fits():
    top = 10_000_001  # VOCAB_SIZE at its limit, and the special words
    terms, _ = linear.count_terms(as_reviews([[top, top], [top, top]]))
    assert terms.tolist() == [top, (top + 1) * 2**31 + top]


def test_measure_by_hand():
    class Model:
        def decision_function(self, weighted):
            return np.array([0.0, np.log(3), -np.log(3)])

    found = linear.measure(Model(), None, np.array([1, 1, 1]))
    assert found["probability"] == pytest.approx([0.5, 0.75, 0.25])
    assert found["right"].tolist() == [False, True, False]
    assert found["loss"] == pytest.approx(-np.log([0.5, 0.75, 0.25]).mean())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small aclImdb of made-up reviews whose words lean to one side; and its texts with labels."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(3)
    words = {0: ["bad", "dull", "weak"], 1: ["good", "fresh", "warm"]}
    texts = {}
    for part in ("train", "test"):
        for label, name in enumerate(("neg", "pos")):
            place = folder / "source" / "aclImdb" / part / name
            place.mkdir(parents=True)
            for number in range(60):
                side = label if rng.random() < 0.8 else 1 - label
                words_here = rng.choice(words[side] + ["a", "the", "film", "plot", "scene"], size=12)
                text = " ".join([*words_here, f"word{rng.integers(500)}"])
                (place / f"{number}_{1 + 8 * label}.txt").write_text(text, encoding="utf-8")
                texts[part, label, number] = text
    return folder, texts


@pytest.fixture
def lab_home(corpus, monkeypatch):
    folder, texts = corpus
    monkeypatch.setenv("LAB_DATA", str(folder / "source"))
    monkeypatch.setenv("LAB_HOME", str(folder / "home"))
    return texts


def timeless(result):
    """The result without what differs from run to run."""
    result = json.loads(json.dumps(result))
    result.pop("seconds"), result.pop("finished"), result.pop("memory")
    for candidate in result["tried"]:
        candidate.pop("seconds")
    return result


def test_run_agrees_with_scikit_learn_on_the_text(lab_home):
    config = Config(SEED=5)
    result = linear.run(config)
    assert result["run_id"] == "tfidf-logreg-s5"
    assert result["kind"] == "linear"
    assert result == files.read_json(files.result_path("aclImdb", "tfidf-logreg-s5"))

    dataset = cache.load(config)

    def texts(part, reviews):
        return [lab_home[part, label, number] for label, number in zip(reviews.labels, reviews.numbers, strict=True)]

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", min_df=2, sublinear_tf=True)
    known = vectorizer.fit_transform(texts("train", dataset.train))
    model = LogisticRegression(C=result["C"], solver="liblinear").fit(known, dataset.train.labels)
    unseen = vectorizer.transform(texts("test", dataset.test))
    right = model.predict(unseen) == dataset.test.labels
    probability = np.frombuffer(base64.b64decode(result["test"]["probability"]), dtype="<f2")
    # A word the training part lacks is left out here and <unk> there, which is no term, being in no review of it.
    assert result["terms"] == len(vectorizer.vocabulary_)
    assert probability == pytest.approx(model.predict_proba(unseen)[:, 1], abs=1e-3)
    assert evidence.unpack(result).tolist() == right.tolist()
    assert result["test"]["accuracy"] == pytest.approx(right.mean())
    assert result["test"]["n"] == 120
    assert 0.6 < right.mean() < 0.95


def test_run_chooses_by_validation_loss_and_repeats_itself(lab_home):
    config = Config(SEED=6)
    result = linear.run(config)
    best = min(result["tried"], key=lambda candidate: candidate["valid_loss"])
    assert [candidate["C"] for candidate in result["tried"]] == list(linear.STRENGTHS)
    assert result["C"] == best["C"]
    assert result["valid"] == {"loss": best["valid_loss"], "accuracy": best["valid_accuracy"]}
    assert timeless(linear.run(config)) == timeless(result)


def test_run_id_names_the_vocabulary():
    assert linear.run_id(Config(VOCAB_SIZE=5000)) == "tfidf-logreg-s2077-v5000"
    assert linear.run_id(Config(MODEL_BASE="LSTM", N_LAYERS=2)) == "tfidf-logreg-s2077"
