"""What counting alone can do: unigram and interpolated Kneser-Ney trigram, the language model's yardsticks.

Kneser and Ney (1995), interpolated with one discount per order as in Chen and Goodman (1998), equations 24 and 25.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from lab import files, machine, record
from lab.config import LANGUAGE_PARAMETERS, LanguageConfig
from lab.data import cache
from lab.data.reviews import EOS_ID
from lab.language import runs


class Counts(NamedTuple):
    """Counts of one order: how often each n-gram occurs, and what is known of each context (all but its last word)."""

    keys: np.ndarray  # (K,) int64, sorted; the words of an n-gram as digits of base V
    counts: np.ndarray  # (K,) int64
    contexts: np.ndarray  # (C,) int64, sorted
    totals: np.ndarray  # (C,) sum of the counts after each context
    kinds: np.ndarray  # (C,) number of different words after each context
    discount: float


class Trigram(NamedTuple):
    """Counts of trigrams, and of the kinds of contexts in which bigrams and words are met."""

    orders: tuple[Counts, Counts, Counts]  # of one, two and three words
    vocab_size: int  # V, <pad> included, which is never predicted


def run(config: LanguageConfig) -> dict:
    """Count the language model's training text and measure both on its validation reviews; writes one result file.

    The file of an earlier call serves where it stands for the same text.
    """
    started = time.perf_counter()
    text = cache.load_language(config)
    size = config.VOCAB_SIZE
    run_id = f"lm-ngram-s{config.SEED}" + (f"-v{size}" if size != LANGUAGE_PARAMETERS["VOCAB_SIZE"].default else "")
    path = files.result_path(config.DATASET, run_id)
    if path.is_file() and (old := record.read(path))["data"]["fingerprint"] == text.fingerprint:
        return old
    model = kneser_ney(text.train.tokens, len(text.vocabulary))
    found = dict(
        unigram=-np.log(unigram(text.counts)[text.valid.tokens]),
        trigram=losses(model, text.valid.tokens),
    )
    result = dict(
        schema=record.SCHEMA,
        kind="ngram",
        run_id=run_id,
        data=runs.describe_data(config, text),
        kinds=[len(order.keys) for order in model.orders],
        discounts=[order.discount for order in model.orders],
        **{name: record.heard(text.valid, loss) for name, loss in found.items()},
        **machine.describe(),
        seconds=time.perf_counter() - started,
    )
    files.write_json(path, result)
    return result


def contexts(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two words before each of ``tokens`` (N,), reviews that each end with EOS_ID; before a review stand two ENDs."""
    before = np.concatenate([[EOS_ID], tokens[:-1]]).astype(np.int64)
    second = np.concatenate([[EOS_ID, EOS_ID], tokens[:-2]])[: len(tokens)].astype(np.int64)
    return np.where(before == EOS_ID, EOS_ID, second), before


def unigram(counts: np.ndarray) -> np.ndarray:
    """Probabilities (V,) by relative frequency, one added to each count so that none is 0; <pad> has none."""
    share = counts + 1.0
    share[0] = 0
    return share / share.sum()


def kneser_ney(tokens: np.ndarray, vocab_size: int) -> Trigram:
    """Count the trigrams of ``tokens`` (N,), numbers below ``vocab_size`` with EOS_ID after each review.

    Below the highest order a word counts once for each different word that it follows.
    """
    V = vocab_size
    u, v = contexts(tokens)
    trigrams, counts = np.unique((u * V + v) * V + tokens, return_counts=True)
    bigrams, preceded = np.unique(trigrams % V**2, return_counts=True)
    words, met_after = np.unique(bigrams % V, return_counts=True)
    orders = ((words, met_after), (bigrams, preceded), (trigrams, counts))
    return Trigram(tuple(_order(keys, found, V) for keys, found in orders), V)


def probability(model: Trigram, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """P(w | u v) of each of N trigrams, (N,): every order hands what it discounts to the order below."""
    V = model.vocab_size
    result = np.full(len(w), 1 / (V - 1))  # below the words themselves: every word but <pad> alike
    for order, context in zip(model.orders, (np.zeros_like(v), v, u * V + v), strict=True):
        count = _look_up(order.keys, order.counts, context * V + w)
        total = _look_up(order.contexts, order.totals, context)
        kinds = _look_up(order.contexts, order.kinds, context)
        own = np.maximum(count - order.discount, 0) + order.discount * kinds * result
        result = np.where(total > 0, own / np.maximum(total, 1), result)
    return result


def losses(model: Trigram, tokens: np.ndarray) -> np.ndarray:
    """-ln P of each of ``tokens`` (N,), reviews that each end with EOS_ID, in nats."""
    u, v = contexts(tokens)
    return -np.log(probability(model, u, v, tokens.astype(np.int64)))


def _order(keys: np.ndarray, counts: np.ndarray, V: int) -> Counts:
    found, first = np.unique(keys // V, return_index=True)
    once, twice = (counts == 1).sum(), (counts == 2).sum()
    discount = float(once / (once + 2 * twice)) if once else 0.5  # a corpus without rare n-grams: any will do
    return Counts(keys, counts, found, np.add.reduceat(counts, first), np.diff(np.append(first, len(keys))), discount)


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each of ``wanted`` among the sorted ``keys``, 0 where it is not one of them."""
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
