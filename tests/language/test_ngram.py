"""Counting: probabilities that sum to one, and agree with an example worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.reviews import EOS_ID
from lab.language import ngram

E, A, B, UNK = EOS_ID, 3, 4, 1
V = 5  # <pad>, <unk>, <eos>, a, b
# Three reviews: "a b", "a b", "b".
REVIEWS = np.array([A, B, E, A, B, E, B, E], dtype=np.int32)


def p(model, u, v, w):
    return ngram.probability(model, *(np.array([word]) for word in (u, v, w)))[0]


def test_contexts_do_not_reach_into_the_review_before():
    u, v = ngram.contexts(REVIEWS)
    assert u.tolist() == [E, E, A, E, E, A, E, E]
    assert v.tolist() == [E, A, B, E, A, B, E, B]


def test_trigram_of_an_example_worked_by_hand():
    model = ngram.kneser_ney(REVIEWS, V)
    # Trigrams: EEa 2, Eab 2, abE 2, EEb 1, EbE 1         -> discount 2 / (2 + 2 * 3) = 1/4
    # Bigrams by different words before: Ea 1, ab 1, bE 2, Eb 1 -> discount 3 / (3 + 2 * 1) = 3/5
    # Words by different words before: a 1, b 2, E 1      -> discount 2 / (2 + 2 * 1) = 1/2
    assert [order.discount for order in model.orders] == pytest.approx([1 / 2, 3 / 5, 1 / 4])
    # Words alone, of 4 (context, word) pairs; 1/2 * 3 kinds / 4 goes to the 4 words alike.
    one = {UNK: 3 / 32, E: 4 / 32 + 3 / 32, A: 4 / 32 + 3 / 32, B: 12 / 32 + 3 / 32}
    two_b_e = (2 - 3 / 5) / 2 + 3 / 5 * 1 / 2 * one[E]
    two_e_a = (1 - 3 / 5) / 2 + 3 / 5 * 2 / 2 * one[A]
    assert p(model, A, B, E) == pytest.approx((2 - 1 / 4) / 2 + 1 / 4 * 1 / 2 * two_b_e)
    assert p(model, E, E, A) == pytest.approx((2 - 1 / 4) / 3 + 1 / 4 * 2 / 3 * two_e_a)
    assert p(model, B, B, E) == pytest.approx(two_b_e)  # "b b" was never seen: the bigram decides
    assert p(model, B, B, UNK) == pytest.approx(3 / 5 * 1 / 2 * one[UNK])
    assert p(model, UNK, UNK, A) == pytest.approx(one[A])  # nothing of it was seen: the word alone

    # The text itself, in nats per token.
    losses = ngram.losses(model, np.array([B, B, E], dtype=np.int32))
    two_b_b, two_e_b = 3 / 5 * 1 / 2 * one[B], (1 - 3 / 5) / 2 + 3 / 5 * one[B]
    three_b_b = 0 + 1 / 4 * 1 / 1 * two_b_b  # after "E b" only E was seen, once
    expected = [(1 - 1 / 4) / 3 + 1 / 4 * 2 / 3 * two_e_b, three_b_b, two_b_e]
    np.testing.assert_allclose(np.exp(-losses), expected)


texts = st.lists(st.lists(st.sampled_from([1, 3, 4, 5, 6]), min_size=1, max_size=8), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(texts, st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_probabilities_after_any_context_sum_to_one(reviews, context):
    tokens = np.array([word for review in reviews for word in [*review, EOS_ID]], dtype=np.int32)
    model = ngram.kneser_ney(tokens, 8)  # 7 is never met
    words = np.arange(1, 8)
    found = ngram.probability(model, np.full(7, context[0]), np.full(7, context[1]), words)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1)


def test_unigram():
    counts = np.bincount(REVIEWS, minlength=V)
    np.testing.assert_allclose(ngram.unigram(counts), np.array([0, 1, 4, 3, 4]) / 12)
