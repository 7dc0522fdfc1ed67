"""Evidence: intervals, paired tests, and a verdict in words on every conclusion of the reference report."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from lab.config import Config
from lab.errors import LabError
from lab.results.cells import REFERENCE, Cell, by_cell

ALPHA = 0.05  # of the whole family of comparisons, after Holm's correction


class Pair(NamedTuple):
    """Two cells, the first of which is claimed to be the more accurate."""

    better: Cell
    worse: Cell


class Hypothesis(NamedTuple):
    """A conclusion of the reference report and every comparison of its table that bears on it."""

    name: str
    pairs: tuple[Pair, ...]


def _hypotheses() -> tuple[Hypothesis, ...]:
    cells = list(REFERENCE)
    two = [Pair(cell._replace(directions=2), cell) for cell in cells if cell.directions == 1]
    wide = [Pair(cell, cell._replace(dim=100)) for cell in cells if cell.dim == 300]
    found = {
        "LSTM优于RNN": [Pair(cell, cell._replace(base="RNN")) for cell in cells if cell.base == "LSTM"],
        "浅层（1、2层）时双向有帮助": [pair for pair in two if pair.worse.layers < 5],
        "深层（5层）时双向有害": [Pair(*reversed(pair)) for pair in two if pair.worse.layers == 5],
        "层数越多越差": [
            Pair(cell._replace(layers=fewer), cell._replace(layers=more))
            for cell in cells
            if cell.layers == 1 and cell.dim == 100
            for fewer, more in combinations((1, 2, 5), 2)
        ],
        "词向量由100维增至300维，RNN变差": [Pair(*reversed(pair)) for pair in wide if pair.worse.base == "RNN"],
        "词向量由100维增至300维，LSTM变好": [pair for pair in wide if pair.worse.base == "LSTM"],
    }
    return tuple(Hypothesis(name, tuple(pairs)) for name, pairs in found.items())


HYPOTHESES = _hypotheses()


def unpack(result: dict) -> np.ndarray:
    """Return the right/wrong marks (n,) bool of a result file's test reviews, in the order of the data.

    Raises ``LabError`` where the file holds another number of marks than its ``test.n``.
    """
    n, packed = result["test"]["n"], base64.b64decode(result["test"]["right"])
    if len(packed) != -(-n // 8):
        raise LabError(
            f"结果文件{result.get('run_id', '')}已损坏：{n}篇测试影评应有{-(-n // 8)}字节的对错记录，"
            f"实有{len(packed)}字节。请删除它后重新运行。"
        )
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=n).astype(bool)


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of the proportion ``right / n`` (Wilson 1927)."""
    from statsmodels.stats.proportion import proportion_confint  # takes seconds to load: not in every notebook

    low, high = proportion_confint(right, n, alpha=1 - level, method="wilson")
    return float(low), float(high)


def reference_inside(reference_accuracy: float, low: float, high: float) -> bool:
    """Whether a reference accuracy lies in an interval, ends included; all three in the same unit."""
    return bool(low <= reference_accuracy <= high)


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
    p_values = np.asarray(p_values, dtype=float)
    corrected, present = p_values.copy(), ~np.isnan(p_values)
    if present.any():
        from statsmodels.stats.multitest import multipletests

        corrected[present] = multipletests(p_values[present], alpha=ALPHA, method="holm")[1]
    return corrected


class Summary(NamedTuple):
    """Runs of one cell taken together."""

    n: int
    mean: float
    sd: float | None  # with n - 1 in the denominator; unknown from one run


def summary(accuracies: Sequence[float]) -> Summary:
    """Mean and standard deviation over seeds."""
    values = np.asarray(accuracies, dtype=float)
    if not values.size:
        raise LabError("没有可以汇总的准确率：这一格还没有运行过。请先运行lab grid。")
    return Summary(values.size, float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None)


def over_seeds(differences: Sequence[float]) -> tuple[float, float | None]:
    """Mean of paired differences, one a seed, and the half width of its 95 % interval by Student's t; None for one seed."""
    found = summary(differences)
    if found.sd is None:
        return found.mean, None
    from scipy import stats

    return found.mean, float(stats.t.ppf(0.975, found.n - 1) * found.sd / np.sqrt(found.n))


def gain_text(pairs: list[tuple[dict, dict]]) -> str:
    """By how much the first runs' test accuracy is above the second's, pair by pair, and whether it can be told from 0."""
    mean, half = over_seeds([(one["test"]["accuracy"] - two["test"]["accuracy"]) * 100 for one, two in pairs])
    text = f"测试准确率{'高' if mean > 0 else '低'}{abs(mean):.2f}个百分点"
    if half is None:
        return f"{text}（只有一个种子）"
    verdict = "" if abs(mean) > half else "，含0，分不出高下"
    return f"{text}（{len(pairs)}个种子，95%区间[{mean - half:+.2f}, {mean + half:+.2f}]{verdict}）"


def seed_noise(table: dict[Cell, dict[int, dict]]) -> dict[str, tuple[float, int]]:
    """Variance of test accuracy between seeds, pooled over the cells of each base: base -> (variance, df).

    A base none of whose cells has two seeds is left out.
    """
    noise = {}
    for base in sorted({cell.base for cell in table}):
        cells = [[unpack(run).mean() for run in runs.values()] for cell, runs in table.items() if cell.base == base]
        cells = [accuracies for accuracies in cells if len(accuracies) > 1]
        if df := sum(len(accuracies) - 1 for accuracies in cells):
            squares = sum(np.var(accuracies, ddof=1) * (len(accuracies) - 1) for accuracies in cells)
            noise[base] = float(squares / df), df
    return noise


def _check_same_reviews(table: dict[Cell, dict[int, dict]]) -> None:
    """Pairing needs the same test reviews in the same order: one number of them, one fingerprint a seed."""
    runs = [(seed, run) for cell_runs in table.values() for seed, run in cell_runs.items()]
    sizes = {run["test"]["n"] for _, run in runs}
    if len(sizes) > 1:
        raise LabError(
            f"结果文件的测试影评数不同：{'、'.join(map(str, sorted(sizes)))}篇，不能配对比较。请用同一数据重新运行。"
        )
    first: dict[int, dict] = {}  # the split depends on the seed, and with it the fingerprint
    for seed, run in runs:
        other = first.setdefault(seed, run)
        if run["data"]["fingerprint"] != other["data"]["fingerprint"]:
            raise LabError(
                f"结果文件{other['run_id']}和{run['run_id']}来自不同的数据，不能配对比较。请删除旧的一个后重新运行。"
            )


def _p_seeds(pair: Pair, difference: float, n_seeds: int, noise: dict[str, tuple[float, int]]) -> float:
    """Two-sided t test of a mean difference over seeds; NaN where the noise of a base is unknown."""
    if not {pair.better.base, pair.worse.base} <= set(noise):
        return np.nan
    (variance_a, df_a), (variance_b, df_b) = noise[pair.better.base], noise[pair.worse.base]
    variance = (variance_a + variance_b) / n_seeds
    if variance == 0:
        return float(difference == 0)
    if pair.better.base == pair.worse.base:
        df = df_a  # one estimate used twice
    else:  # Welch (1947), Satterthwaite (1946)
        df = (variance_a + variance_b) ** 2 / (variance_a**2 / df_a + variance_b**2 / df_b)
    from scipy import stats

    return float(2 * stats.t.sf(abs(difference) / np.sqrt(variance), df))


def comparisons(results: Iterable[dict], settings: Config | None = None) -> pd.DataFrame:
    """Test every pair of every hypothesis on the same test reviews; one row per pair.

    Columns: hypothesis, better, worse (cells, as claimed), seeds (those both cells have), differences
    (per seed, accuracy of the one claimed better minus the other), difference (their mean), sd (over seeds),
    n01, n10 (per seed), p_reviews, p_seeds, p, p_holm, outcome (支持, 相反, 不显著 or 未运行), seeds_only (not
    significant for the noise between seeds alone: the reviews would do, Holm-corrected).

    A claim about two architectures must survive two kinds of luck, so two null hypotheses must fall:

    - luck of the reviews (``p_reviews``): exact McNemar for each common seed. The reviews are the same for
      every seed, so discordant counts of several seeds are not independent and are not added up. The largest
      p counts, and it is 1 unless all seeds agree in sign: the claim is a difference in every seed.
    - luck of the seed (``p_seeds``), which sets first weights, order and split: McNemar compares two trained
      networks and does not see that training again gives others (Dietterich 1998, Neural Computation 10:1895). The mean difference is therefore held
      against the variance between seeds by a t test. Two or three seeds tell little about a variance, so it
      is pooled over the cells of a base (``seed_noise``); a cell with one seed borrows it. The noise of the
      two cells is taken as independent, which errs on the safe side where a seed shifts both alike. NaN where
      no cell of a base has two seeds: the row then speaks of these trained networks only.

    ``p`` is the largest of all these: where each of several hypotheses must be rejected, this is a valid test
    at the same level whatever their dependence (intersection-union test, Berger 1982, Technometrics 24:295).
    ``p_holm`` is corrected over all pairs that have been run. Raises ``LabError`` where two runs to be
    compared do not have the same test reviews.
    """
    table = by_cell(results, settings)
    right = {cell: {seed: unpack(run) for seed, run in runs.items()} for cell, runs in table.items()}
    _check_same_reviews(table)
    noise = seed_noise(table)
    rows = []
    for hypothesis in HYPOTHESES:
        for pair in hypothesis.pairs:
            seeds = tuple(sorted(set(right[pair.better]) & set(right[pair.worse])))
            tests = [mcnemar(right[pair.better][seed], right[pair.worse][seed]) for seed in seeds]
            differences = tuple(test.difference for test in tests)
            row = dict(
                hypothesis=hypothesis.name,
                better=pair.better,
                worse=pair.worse,
                seeds=seeds,
                differences=differences,
                n01=tuple(test.n01 for test in tests),
                n10=tuple(test.n10 for test in tests),
                difference=np.nan,
                sd=np.nan,
                p_reviews=np.nan,
                p_seeds=np.nan,
                p=np.nan,
            )
            if seeds:
                _, mean, sd = summary(differences)
                agree = len(set(np.sign(differences))) == 1
                p_reviews = max(test.p for test in tests) if agree else 1.0
                p_seeds = _p_seeds(pair, mean, len(seeds), noise)
                row |= dict(
                    difference=mean,
                    sd=np.nan if sd is None else sd,
                    p_reviews=p_reviews,
                    p_seeds=p_seeds,
                    p=np.nanmax([p_reviews, p_seeds]),
                )
            rows.append(row)
    frame = pd.DataFrame(rows)
    frame["p_holm"] = holm(frame["p"])
    significant = frame["p_holm"] < ALPHA
    frame["outcome"] = np.select(
        [frame["p"].isna(), significant & (frame["difference"] > 0), significant],
        ["未运行", "支持", "相反"],
        "不显著",
    )
    frame["seeds_only"] = (frame["outcome"] == "不显著") & (holm(frame["p_reviews"]) < ALPHA)
    return frame


def verdicts(results: Iterable[dict], settings: Config | None = None) -> pd.DataFrame:
    """Say of every hypothesis whether it holds; one row each, see ``comparisons`` for the tests.

    A conclusion of the reference is a general one ("two directions help when shallow"), hence:

    - 不成立: at least one pair significantly shows the opposite. The error of the whole family is held
      below 5 %, so one counterexample refutes a general statement; the sentence names where it does hold.
    - 成立: no pair shows the opposite, and more than half of its pairs (those not run included) support it.
    - 证据不足: anything else.
    - 未运行: no pair of it has been run.

    Columns: hypothesis, verdict, pairs, support, against, unclear, missing (numbers of pairs), single (pairs
    with one seed), low, high (smallest and largest mean difference, positive as claimed), sd (largest of a
    difference over seeds), sentence (Chinese, made of these numbers).
    """
    rows = []
    frame = comparisons(results, settings)
    for name, pairs in frame.groupby("hypothesis", sort=False):
        counts = {
            key: int((pairs["outcome"] == word).sum())
            for key, word in dict(support="支持", against="相反", unclear="不显著", missing="未运行").items()
        }
        if counts["missing"] == len(pairs):
            verdict = "未运行"
        elif counts["against"]:
            verdict = "不成立"
        elif 2 * counts["support"] > len(pairs):
            verdict = "成立"
        else:
            verdict = "证据不足"
        row = dict(
            hypothesis=name,
            verdict=verdict,
            pairs=len(pairs),
            **counts,
            single=int((pairs["seeds"].map(len) == 1).sum()),
            low=pairs["difference"].min(),
            high=pairs["difference"].max(),
            sd=pairs["sd"].max(),
        )
        rows.append(row | dict(sentence=_sentence(row, pairs)))
    return pd.DataFrame(rows)


def p_text(p: float) -> str:
    """A p value as readers expect it."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"


def _sentence(row: dict, pairs: pd.DataFrame) -> str:
    """The verdict and the numbers behind it, in Chinese."""
    if row["verdict"] == "未运行":
        return f"“{row['hypothesis']}”：未运行，{row['pairs']}对比较都还没有结果。"
    counted = [
        f"{row[key]}对{word}"
        for key, word in dict(support="支持", against="相反", unclear="不显著", missing="未运行").items()
        if row[key]
    ]
    text = f"“{row['hypothesis']}”：{row['verdict']}。{row['pairs']}对比较中{'、'.join(counted)}；"
    low, high = 100 * row["low"], 100 * row["high"]
    span = f"为{low:+.2f}" if np.isclose(low, high) else f"从{low:+.2f}到{high:+.2f}"
    text += f"准确率之差{span}个百分点（正值与结论同向）"
    text += "。" if np.isnan(row["sd"]) else f"，种子间的标准差至多{100 * row['sd']:.2f}。"
    if row["support"]:
        text += f"支持的各对校正后{p_text(pairs.loc[pairs['outcome'] == '支持', 'p_holm'].max()).replace('=', '≤')}。"
    for outcome in ("支持", "相反") if row["against"] else ():
        shown = [
            f"{pair.better.label}对{pair.worse.label}{100 * pair.difference:+.2f}（{p_text(pair.p_holm)}）"
            for pair in pairs[pairs["outcome"] == outcome].itertuples()
        ]
        text += f"{outcome}的是：{'；'.join(shown)}。" if shown else ""
    if held_back := int(pairs["seeds_only"].sum()):
        text += f"不显著的各对中，{held_back}对只看测试影评已显著，但差值没有超出换一个种子就有的波动。"
    if row["single"]:
        text += f"其中{row['single']}对只有一个种子。"
    if unknown := int((pairs["p"].notna() & pairs["p_seeds"].isna()).sum()):
        text += f"其中{unknown}对还估计不出种子之间的波动，只说明这几个训练好的网络。"
    return text
