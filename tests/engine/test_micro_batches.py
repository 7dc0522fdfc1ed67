"""A batch cut into parts that fit into memory."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.reviews import Reviews, make_batch
from lab.engine import micro_batches


def made_of(lengths) -> Reviews:
    """Reviews of these lengths, each token another."""
    n, total = len(lengths), sum(lengths)
    return Reviews(
        np.arange(1, total + 1, dtype=np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.arange(n, dtype=np.uint8) % 2,
        numbers=np.arange(n, dtype=np.int32),
        ratings=np.ones(n, dtype=np.uint8),
        digests=np.arange(n, dtype=np.uint64),
    )


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 80))
def test_parts_hold_each_review_once(lengths, most):
    reviews = made_of(lengths)
    batch = make_batch(reviews, np.arange(reviews.n))
    parts = list(micro_batches.cut(batch, most))
    assert sorted(place for part in parts for place in part.index) == list(range(reviews.n))
    for part in parts:
        assert part.lengths.sum() <= most or len(part.index) == 1
        assert len(part.tokens) == part.lengths.max()
        for column, place in enumerate(part.index):
            np.testing.assert_array_equal(part.tokens[: part.lengths[column], column], reviews[place])
            assert part.labels[column] == reviews.labels[place]
