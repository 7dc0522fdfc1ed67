"""The plan of tests, fixed before the first result on these vectors was looked at.

Claims are the reference report's conclusions; each is a set of pairs of cells, the first cell of a pair being the one
claimed to be more accurate. The rules, in the order in which ``lab.results.evidence`` applies them:

1. Runs of a pair are paired by seed: for one seed, split and order of the reviews are the same.
2. A pair is comparable where both cells stand on the same reviews and on vectors of like coverage (``COVERAGE``).
3. Luck of the seed: for each seed the mean difference over the claim's main pairs, for the seeds that all main pairs
   with at least two seeds share; two-sided paired t test. Variances of cells are not pooled: in earlier runs the
   standard deviations of the RNN's cells lay between 0.8 and 3.8 points. Main pairs of the claims on LSTM and on two
   directions when shallow are those of 1 and 2 layers at 100 dimensions (five seeds each), else all pairs.
4. Luck of the reviews: for each test review the mean difference over the same runs; two-sided t test over the reviews.
5. A claim must survive both: p is the larger of the two (intersection-union test, Berger 1982, Technometrics 24:295).
6. Holm's correction (1979) over the claims that could be tested, at ``ALPHA``.
7. A single pair: paired t test over its seeds and exact McNemar test for each seed; p is the largest of them, and 1
   where the seeds disagree in sign; Holm's correction over the pairs of its claim.
8. Verdict. 不成立: the claim's mean, or one of its pairs, is significantly opposite. 成立: the claim's mean is
   significant as claimed, and no pair is significantly opposite. 证据不足: anything else that was tested; the smallest
   difference that the seeds could have shown stands beside it. 不可比: no pair is comparable. 未运行: nothing to test.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from lab.results.cells import REFERENCE, Cell

ALPHA = 0.05  # of the family of claims, and of the pairs of one claim
POWER = 0.8  # with which the smallest visible difference would be found
COVERAGE = 0.01  # share of training tokens by which two vector files may differ and still be compared
SHORT = 0.01  # a mean this far below the reference is looked into
SEEDS = {"shallow": (2077, 2078, 2079, 2080, 2081), "deep": (2077, 2078, 2079)}  # planned for 1 and 2, for 5 layers
# Standard deviation of a cell's test accuracy over seeds, pooled over the cells of earlier runs on a smaller subset of
# the vectors: what the plan's power was reckoned from.
PILOT_SD = {"RNN": 0.0234, "LSTM": 0.0089}


class Pair(NamedTuple):
    """Two cells, the first of which is claimed to be the more accurate."""

    better: Cell
    worse: Cell

    @property
    def label(self) -> str:
        """The name a reader sees."""
        return f"{self.better.label}对{self.worse.label}"


class Claim(NamedTuple):
    """A conclusion of the reference report and every comparison of its table that bears on it."""

    name: str
    pairs: tuple[Pair, ...]
    main: tuple[Pair, ...]  # those that the claim's own test is about


def _claims() -> tuple[Claim, ...]:
    cells = list(REFERENCE)
    two = [Pair(cell._replace(directions=2), cell) for cell in cells if cell.directions == 1]
    deeper = [
        Pair(cell._replace(layers=fewer), cell._replace(layers=more))
        for cell in cells
        if cell.layers == 1 and cell.dim == 100
        for fewer, more in combinations((1, 2, 5), 2)
    ]
    wide = [Pair(cell, cell._replace(dim=100)) for cell in cells if cell.dim == 300]

    def shallow(pairs: list[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs if pair.worse.layers < 5 and pair.worse.dim == 100)

    def claim(name: str, pairs: list[Pair], main: tuple[Pair, ...] = ()) -> Claim:
        return Claim(name, tuple(pairs), main or tuple(pairs))

    lstm = [Pair(cell, cell._replace(base="RNN")) for cell in cells if cell.base == "LSTM"]
    return (
        claim("LSTM优于RNN", lstm, shallow(lstm)),
        claim("浅层（1、2层）时双向有帮助", [pair for pair in two if pair.worse.layers < 5], shallow(two)),
        claim("深层（5层）时双向有害", [Pair(*reversed(pair)) for pair in two if pair.worse.layers == 5]),
        claim("层数越多越差", deeper),
        claim("词向量由100维增至300维，RNN变差", [Pair(*reversed(pair)) for pair in wide if pair.worse.base == "RNN"]),
        claim("词向量由100维增至300维，LSTM变好", [pair for pair in wide if pair.worse.base == "LSTM"]),
    )


CLAIMS = _claims()


def smallest_difference(sd: float, n_seeds: int, n_claims: int = len(CLAIMS)) -> float:
    """The smallest mean difference that a paired t test over ``n_seeds`` finds with ``POWER``; NaN for fewer than two.

    ``sd``: standard deviation of the differences over seeds. The level is that of Holm's first step among ``n_claims``.
    """
    if n_seeds < 2:
        return np.nan
    from scipy import optimize, stats  # statsmodels' solve_power is off by a seventh for three pairs

    df, level = n_seeds - 1, ALPHA / n_claims
    limit = stats.t.isf(level / 2, df)

    def missing(effect: float) -> float:  # power still missing at a mean of ``effect`` standard deviations
        return POWER - stats.nct.sf(limit, df, effect * np.sqrt(n_seeds))

    return float(sd * optimize.brentq(missing, 0, 10 * limit))


def pilot_sd(claim: Claim) -> float:
    """Standard deviation of a seed's mean difference over the claim's main pairs, by ``PILOT_SD`` and independent cells."""
    weights: dict[Cell, float] = {}
    for pair in claim.main:
        for cell, sign in zip(pair, (1, -1), strict=True):
            weights[cell] = weights.get(cell, 0) + sign / len(claim.main)
    return float(np.sqrt(sum((weight * PILOT_SD[cell.base]) ** 2 for cell, weight in weights.items())))


def table() -> pd.DataFrame:
    """The plan as it was before the runs: a row for each claim; differences in percentage points."""
    rows = []
    for claim in CLAIMS:
        deep = any(cell.layers == 5 for pair in claim.main for cell in pair)
        seeds, sd = SEEDS["deep" if deep else "shallow"], pilot_sd(claim)
        rows.append(
            {
                "参考报告的结论": claim.name,
                "主检验的配对数": len(claim.main),
                "计划的种子数": len(seeds),
                "预估标准差": sd * 100,
                "可检出的最小差异": smallest_difference(sd, len(seeds)) * 100,
            }
        )
    return pd.DataFrame(rows)
