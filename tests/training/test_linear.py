"""The linear control against scikit-learn's own vectorizer on the text, end to end."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from conftest import TIMES
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lab import files, record
from lab.config import Config
from lab.data import cache
from lab.training import linear


def test_terms_are_words_and_pairs_of_neighbours():
    assert linear.terms([3, 1, 3]) == ["3", "1", "3", "3 1", "1 3"]
    assert linear.terms([7]) == ["7"]


def timeless(result):
    """The result without what differs from run to run."""
    result = json.loads(json.dumps({name: value for name, value in result.items() if name not in TIMES}))
    for candidate in result["tried"]:
        candidate.pop("seconds")
    return result


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
    assert record.right(result).tolist() == right.tolist()
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
