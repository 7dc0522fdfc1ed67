"""Tables never mix data."""

from __future__ import annotations

import pytest
from made import run

from lab.errors import LabError
from lab.results.cells import by_cell


def test_runs_of_one_table_stand_on_the_same_vectors_and_reviews():
    plain, bidirectional, wide = run(0.7), run(0.7, BIDIRECTIONAL=True), run(0.7, EMBEDDING_DIM=300)
    by_cell([plain, bidirectional, run(0.7, SEED=2078), wide])

    wide["data"]["fingerprint"] = "older"  # a table of its own
    by_cell([plain, wide])

    bidirectional["data"]["fingerprint"] = "older"
    with pytest.raises(LabError, match="rnn-1x1-100d-s2077和rnn-1x2-100d-s2077的影评或划分不同"):
        by_cell([plain, bidirectional])

    subset = run(0.7, SEED=2078)
    subset["data"]["vectors"]["words"] = 5
    with pytest.raises(LabError, match=r"的词向量glove\.6B\.100d不同（7个词与5个词）"):
        by_cell([plain, subset])
