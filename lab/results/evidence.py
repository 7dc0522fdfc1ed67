"""Evidence: intervals, paired tests, and the verdicts on the reference report's claims, by the rules of ``lab.results.plan``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lab import record
from lab.errors import LabError
from lab.results.cells import MISSING, REFERENCE, Cell, by_cell
from lab.results.plan import ALPHA, CLAIMS, COVERAGE, Pair, smallest_difference

INSIDE = "区间内"  # where a reference figure lies
NOT_COMPARABLE = "不可比"


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of the proportion ``right / n`` (Wilson 1927)."""
    from scipy import stats

    interval = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def probability_bins(probability: np.ndarray, n: int) -> np.ndarray:
    """Which of ``n`` bins of equal width each probability is in (N,); 1 belongs to the last."""
    return np.minimum((probability * n).astype(int), n - 1)


def interval(result: dict) -> tuple[float, float]:
    """95 % Wilson interval of a run's test accuracy."""
    n = result["test"]["n"]
    return wilson(round(result["test"]["accuracy"] * n), n)


class McNemar(NamedTuple):
    """Paired comparison of two models on the same reviews."""

    n01: int  # a wrong, b right
    n10: int  # a right, b wrong
    difference: float  # accuracy of a minus accuracy of b
    p: float  # two-sided, exact


def mcnemar(a_right: np.ndarray, b_right: np.ndarray) -> McNemar:
    """Compare two models by the reviews on which exactly one of them is right (McNemar 1947).

    Without a difference each such review is a fair coin, so p is that of an exact binomial test; p is 1 where
    the two models never differ. ``a_right`` and ``b_right`` are (n,) bool, review by review.
    """
    a_right, b_right = np.asarray(a_right, dtype=bool), np.asarray(b_right, dtype=bool)
    if a_right.shape != b_right.shape or a_right.ndim != 1 or not a_right.size:
        raise LabError(
            f"配对比较需要同样的测试影评：两个模型各有{a_right.size}篇和{b_right.size}篇。请用同一数据重新运行。"
        )
    n01, n10 = int((~a_right & b_right).sum()), int((a_right & ~b_right).sum())
    from scipy import stats

    p = stats.binomtest(n10, n01 + n10).pvalue if n01 + n10 else 1.0
    return McNemar(n01, n10, (n10 - n01) / a_right.size, float(p))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct a family of p values after Holm (1979); a missing one (NaN) stays missing, uncounted."""
    corrected = np.array(p_values, dtype=float)
    present = np.flatnonzero(~np.isnan(corrected))
    rising = present[np.argsort(corrected[present])]
    steps = corrected[rising] * np.arange(len(rising), 0, -1)
    # own lines: statsmodels' multipletests collects garbage at each call, three quarters of all the tests' time
    corrected[rising] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


class Summary(NamedTuple):
    """Runs of one cell taken together."""

    n: int
    mean: float
    sd: float | None  # with n - 1 in the denominator; unknown from one run


def summary(values: Sequence[float]) -> Summary:
    """Mean and standard deviation over seeds."""
    values = np.asarray(values, dtype=float)
    if not values.size:
        raise LabError("没有可以汇总的准确率：这个配置还没有运行过。请先运行uv run lab grid。")
    return Summary(values.size, float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None)


def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds and the half width of its 95 % interval by Student's t; None for one seed."""
    found = summary(values)
    if found.sd is None:
        return found.mean, None
    from scipy import stats

    return found.mean, float(stats.t.ppf(0.975, found.n - 1) * found.sd / np.sqrt(found.n))


def prediction(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % prediction interval of one further seed, mean ± t·s·√(1 + 1/n); None for one seed."""
    mean, half = over_seeds(values)
    return None if half is None else (mean - half * np.sqrt(len(values) + 1), mean + half * np.sqrt(len(values) + 1))


def t_test(values: np.ndarray) -> float:
    """Two-sided p of the mean of ``values`` (n,) being 0; 1 or 0 where they do not vary, NaN for fewer than two."""
    if len(values) < 2:
        return np.nan
    if np.ptp(values) == 0:
        return float(values[0] == 0)
    from scipy import stats

    return float(stats.ttest_1samp(values, 0).pvalue)


def gain(pairs: list[tuple[dict, dict]]) -> tuple[float, float | None]:
    """By how many points the second runs' test accuracy is above the first's: mean over seeds, half a 95 % interval."""
    return over_seeds([(after["test"]["accuracy"] - before["test"]["accuracy"]) * 100 for before, after in pairs])


# ------------------------------------------------------------------------------------------------- the plan's tests


def comparable(one: dict, two: dict) -> bool:
    """Whether two runs of the same seed stand on the same reviews and on vectors of like coverage."""
    a, b = one["data"], two["data"]
    same = a["fingerprint"] == b["fingerprint"]
    return same and abs(a["vectors"]["covered_tokens"] - b["vectors"]["covered_tokens"]) <= COVERAGE


def _seeds(table: dict[Cell, dict[int, dict]], pair: Pair) -> tuple[list[int], bool]:
    """Seeds of a pair that can be compared, and whether there are others that cannot."""
    common = sorted(set(table[pair.better]) & set(table[pair.worse]))
    usable = [seed for seed in common if comparable(table[pair.better][seed], table[pair.worse][seed])]
    return usable, len(usable) < len(common)


def comparisons(results: Iterable[dict]) -> pd.DataFrame:
    """Test every pair of every claim (rule 7 of the plan); one row a pair.

    Columns: claim, better, worse, main, seeds, differences (per seed, accuracy of the one claimed better minus the
    other), difference (their mean), low, high (95 % interval of the mean over seeds; of the reviews for one seed), n01,
    n10 (per seed), p_reviews, p_seeds, p, p_holm, outcome (支持, 相反, 不显著, 单个种子, 不可比, 未运行).
    Raises ``LabError`` where two runs do not have the same number of test reviews.
    """
    table = by_cell(results)
    right = {cell: {seed: record.right(run) for seed, run in runs.items()} for cell, runs in table.items()}
    frames = []
    for claim in CLAIMS:
        rows = [
            dict(claim=claim.name, better=pair.better, worse=pair.worse, main=pair in claim.main)
            | _compare(pair, right, *_seeds(table, pair))
            for pair in claim.pairs
        ]
        frame = pd.DataFrame(rows)
        frame["p_holm"] = holm(frame["p"])
        significant = frame["p_holm"] < ALPHA
        frame.loc[significant, "outcome"] = np.where(frame.loc[significant, "difference"] > 0, "支持", "相反")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _compare(pair: Pair, right: dict, seeds: list[int], others: bool) -> dict:
    tests = [mcnemar(right[pair.better][seed], right[pair.worse][seed]) for seed in seeds]
    row = dict(
        seeds=tuple(seeds),
        differences=tuple(test.difference for test in tests),
        n01=tuple(test.n01 for test in tests),
        n10=tuple(test.n10 for test in tests),
        **dict.fromkeys(("difference", "low", "high", "p_reviews", "p_seeds", "p"), np.nan),
        outcome=NOT_COMPARABLE if others else MISSING,
    )
    if not seeds:
        return row
    mean, half = over_seeds(row["differences"])
    if half is None:  # the reviews' share of the error is all that one seed tells
        first = tests[0]
        n = len(right[pair.better][seeds[0]])
        half = 1.96 * np.sqrt((first.n01 + first.n10) / n - first.difference**2) / np.sqrt(n)
    agree = len(set(np.sign(row["differences"]))) == 1
    p_reviews = max(test.p for test in tests) if agree else 1.0
    p_seeds = t_test(np.array(row["differences"]))
    return row | dict(
        difference=mean,
        low=mean - half,
        high=mean + half,
        p_reviews=p_reviews,
        p_seeds=p_seeds,
        p=np.nan if np.isnan(p_seeds) else max(p_reviews, p_seeds),
        outcome="单个种子" if len(seeds) == 1 else "不显著",
    )


def verdicts(results: Iterable[dict], pairs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Test every claim (rules 3 to 6 and 8 of the plan); one row a claim. ``pairs`` are ``comparisons(results)``, where known.

    Columns: claim, verdict, pairs, main (pairs in the claim's test), n_seeds, difference (mean, positive as claimed),
    low, high (95 % interval over seeds), sd (over seeds), p, p_holm, visible (smallest visible difference), against
    (number of significantly opposite pairs), counterexamples (their rows of ``comparisons``).
    """
    results = list(results)
    table, pairs = by_cell(results), comparisons(results) if pairs is None else pairs
    rows = []
    for claim in CLAIMS:
        own = pairs[pairs["claim"] == claim.name]
        row = dict(claim=claim.name, pairs=len(own), main=0, n_seeds=0)
        row |= dict.fromkeys(("difference", "low", "high", "sd", "p"), np.nan)
        tested = own[own["main"] & (own["seeds"].map(len) > 1)]
        seeds = sorted(set.intersection(*map(set, tested["seeds"]))) if len(tested) else []
        if len(seeds) > 1:
            row |= _test_claim(
                table, [Pair(*cells) for cells in zip(tested["better"], tested["worse"], strict=True)], seeds
            )
        row["counterexamples"] = own[own["outcome"] == "相反"]
        row["against"] = len(row["counterexamples"])
        row["untested"] = NOT_COMPARABLE if (own["outcome"] == NOT_COMPARABLE).any() else MISSING
        row["single"] = bool((own["outcome"] == "单个种子").any())
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame["p_holm"] = holm(frame["p"])
    n_tested = int(frame["p"].notna().sum())
    frame["visible"] = [
        smallest_difference(sd, n, n_tested) if n > 1 else np.nan
        for sd, n in zip(frame["sd"], frame["n_seeds"], strict=True)
    ]
    frame["verdict"] = [_verdict(row) for row in frame.itertuples()]
    return frame


def _test_claim(table: dict[Cell, dict[int, dict]], pairs: list[Pair], seeds: list[int]) -> dict:
    marks = np.array(
        [
            [
                record.right(table[pair.better][seed]).astype(float) - record.right(table[pair.worse][seed])
                for pair in pairs
            ]
            for seed in seeds
        ]
    )  # (seeds, pairs, reviews)
    by_seed = marks.mean((1, 2))
    mean, half = over_seeds(by_seed)
    return dict(
        main=len(pairs),
        n_seeds=len(seeds),
        difference=mean,
        low=mean - half,
        high=mean + half,
        sd=float(by_seed.std(ddof=1)),
        p=max(t_test(by_seed), t_test(marks.mean((0, 1)))),
    )


def _verdict(row) -> str:
    significant = row.p_holm < ALPHA
    if row.against or (significant and row.difference < 0):
        return "不成立"
    if significant:
        return "成立"
    return "证据不足" if not np.isnan(row.p) or row.single else row.untested


def reference_table(results: list[dict]) -> pd.DataFrame:
    """Every cell beside the reference's one run: mean, difference, and the prediction interval of one further run.

    Columns: cell, n, mean, sd, low, high, reference, place (区间内, 高于区间, 低于区间 or –), alike (whether the vectors
    are within ``plan.COVERAGE`` of the complete file's coverage, which the reference report used); shares, not per cent.
    """
    rows = []
    for cell, seeds in by_cell(results).items():
        row = dict(cell=cell, n=len(seeds), reference=REFERENCE[cell], place="–")
        row |= dict.fromkeys(("mean", "sd", "low", "high"), np.nan)
        files = [run["data"]["vectors"] for run in seeds.values()]
        row["alike"] = all(file["complete"] or file["covered_tokens"] >= 1 - COVERAGE for file in files)
        if seeds:
            values = [run["test"]["accuracy"] for run in seeds.values()]
            found = summary(values)
            row |= dict(mean=found.mean, sd=np.nan if found.sd is None else found.sd)
            if span := prediction(values):
                below, above = REFERENCE[cell] < span[0], REFERENCE[cell] > span[1]
                row |= dict(low=span[0], high=span[1], place="低于区间" if below else "高于区间" if above else INSIDE)
        rows.append(row)
    return pd.DataFrame(rows)


def p_text(p: float) -> str:
    """A p value as readers expect it."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"
