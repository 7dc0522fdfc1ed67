"""The linear control: TF-IDF of words and word pairs under a logistic regression, on the networks' own tokens."""

from __future__ import annotations

import itertools
import time

import numpy as np
import scipy.sparse as sp
import sklearn
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from lab import files, machine, record
from lab.config import Config
from lab.data import cache
from lab.data.reviews import Reviews

MIN_REVIEWS = 2  # a term of one training review only cannot help with another
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # C of the logistic regression, the inverse of its penalty


def run_id(config: Config) -> str:
    """Name of the control's run: only the split (``SEED``) and the vocabulary distinguish one from another."""
    vocabulary = "" if config.VOCAB_SIZE == Config.VOCAB_SIZE else f"-v{config.VOCAB_SIZE}"
    return f"tfidf-logreg-s{config.SEED}{vocabulary}"


def run(config: Config) -> dict:
    """Fit and test the linear model on the split of ``config``; returns what its result file holds.

    Terms, their weights and the model come from the training part. As with the networks, the validation loss
    (nats per review) chooses among the candidates, here the strengths C, and the test part is used once. The
    penalised loss has one minimum and the solver draws no random numbers: only the split depends on the seed.
    The file of an earlier call serves where it stands for the same data.
    """
    started = time.perf_counter()
    dataset = cache.load(config)
    data = record.describe_data(config, dataset, None)
    path = files.result_path(config.DATASET, run_id(config))
    if record.stands_on(path, data):
        return record.read(path)
    tfidf = TfidfVectorizer(analyzer=terms, min_df=MIN_REVIEWS, sublinear_tf=True)
    known = tfidf.fit_transform(texts(dataset.train))  # (N, V)
    unseen = tfidf.transform(texts(dataset.valid))

    tried = []
    for strength in STRENGTHS:
        at = time.perf_counter()
        model = LogisticRegression(C=strength, solver="liblinear").fit(known, dataset.train.labels)
        fitted = measure(model, known, dataset.train.labels)
        valid = measure(model, unseen, dataset.valid.labels)
        tried.append(
            dict(
                C=strength,
                train_loss=fitted["loss"],
                valid_loss=valid["loss"],
                valid_accuracy=valid["accuracy"],
                seconds=time.perf_counter() - at,
            )
        )
        if valid["loss"] <= min(past["valid_loss"] for past in tried):
            chosen = valid, model, strength
    valid, model, strength = chosen

    test = measure(model, tfidf.transform(texts(dataset.test)), dataset.test.labels)
    result = dict(
        schema=record.SCHEMA,
        kind="linear",
        run_id=run_id(config),
        config={name: getattr(config, name) for name in ("DATASET", "VOCAB_SIZE", "SEED")},
        data=data,
        history=[],
        best_epoch=None,
        terms=len(tfidf.vocabulary_),
        tried=tried,
        C=strength,
        valid=dict(loss=valid["loss"], accuracy=valid["accuracy"]),
        test=record.tested(test),
        **machine.describe(),
        seconds=time.perf_counter() - started,
    )
    result["versions"]["scikit-learn"] = sklearn.__version__
    files.write_json(path, result)
    return result


def texts(reviews: Reviews):
    """The reviews one by one as lists of word ids."""
    return (reviews[place].tolist() for place in range(reviews.n))


def terms(ids: list[int]) -> list[str]:
    """The words of a review and the pairs of neighbouring words, by their ids."""
    words = list(map(str, ids))
    return words + list(map(" ".join, itertools.pairwise(words)))


def measure(model: LogisticRegression, weighted: sp.csr_matrix, labels: np.ndarray) -> dict:
    """Loss, accuracy, and for each review (N,) the probability of 'positive' and whether it was judged rightly."""
    logits = model.decision_function(weighted)
    right = (logits > 0) == (labels > 0)
    probability = expit(logits)
    loss = log_loss(labels, probability, labels=[0, 1])
    return dict(loss=float(loss), accuracy=float(right.mean()), right=right, probability=probability)
