"""The linear control: TF-IDF of words and word pairs under a logistic regression, on the networks' own tokens."""

from __future__ import annotations

import base64
import time

import numpy as np
import scipy.sparse as sp
import sklearn
import torch
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from lab import files, train
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
    """
    started = time.perf_counter()
    dataset = cache.load(config)
    terms, counts = count_terms(dataset.train)
    weights = TfidfTransformer(sublinear_tf=True).fit(counts)
    known = weights.transform(counts)  # (N, V)
    unseen = weights.transform(count_terms(dataset.valid, terms)[1])

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

    test = measure(model, weights.transform(count_terms(dataset.test, terms)[1]), dataset.test.labels)
    result = dict(
        schema=train.SCHEMA,
        kind="linear",
        run_id=run_id(config),
        config={name: getattr(config, name) for name in ("DATASET", "VOCAB_SIZE", "SEED")},
        data=train.describe_data(config, dataset, None),
        history=[],
        best_epoch=None,
        terms=len(terms),
        tried=tried,
        C=strength,
        valid=dict(loss=valid["loss"], accuracy=valid["accuracy"]),
        test=dict(
            loss=test["loss"],
            accuracy=test["accuracy"],
            n=dataset.test.n,
            right=train.encode_bits(test["right"]),
            probability=base64.b64encode(test["probability"].astype("<f2").tobytes()).decode(),
        ),
        **train.describe_machine(torch.device("cpu")),
        seconds=time.perf_counter() - started,
    )
    result["versions"]["scikit-learn"] = sklearn.__version__
    files.write_json(files.result_path(config.DATASET, result["run_id"]), result)
    return result


def count_terms(reviews: Reviews, terms: np.ndarray | None = None) -> tuple[np.ndarray, sp.csr_matrix]:
    """Count words and pairs of neighbouring words, review by review.

    Without ``terms`` they are those of at least ``MIN_REVIEWS`` of the reviews; with them, any other is
    passed over. Returns the terms (V,) int64, sorted, and the counts (N, V) float64. A word is its number, a
    pair (a, b) is (a + 1) * 2**31 + b, which no word and no other pair is.
    """
    tokens = np.asarray(reviews.tokens, dtype=np.int64)
    coded = np.stack([tokens, np.zeros_like(tokens)], axis=1)  # (total, 2): word, pair that ends with it
    coded[1:, 1] = (tokens[:-1] + 1 << 31) + tokens[1:]
    there = np.ones(coded.shape, dtype=bool)
    there[reviews.offsets[:-1], 1] = False  # no pair reaches into the review before
    rows = np.repeat(np.arange(reviews.n), np.diff(reviews.offsets))  # (total,)
    rows, coded = np.stack([rows, rows], axis=1)[there], coded[there]

    if terms is None:
        found, columns = np.unique(coded, return_inverse=True)
        counts = sp.csr_matrix((np.ones(len(coded)), (rows, columns)), shape=(reviews.n, len(found)))
        often = counts.getnnz(axis=0) >= MIN_REVIEWS
        return found[often], counts[:, often]
    columns = np.minimum(np.searchsorted(terms, coded), len(terms) - 1)
    known = terms[columns] == coded
    places = rows[known], columns[known]
    return terms, sp.csr_matrix((np.ones(known.sum()), places), shape=(reviews.n, len(terms)))


def measure(model: LogisticRegression, weighted: sp.csr_matrix, labels: np.ndarray) -> dict:
    """Loss, accuracy, and for each review (N,) the probability of 'positive' and whether it was right."""
    logits = model.decision_function(weighted)
    right = (logits > 0) == (labels > 0)
    probability = expit(logits)
    loss = log_loss(labels, probability, labels=[0, 1])
    return dict(loss=float(loss), accuracy=float(right.mean()), right=right, probability=probability)
