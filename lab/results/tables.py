"""The tables of the report: data frames whose strings are Markdown, in Chinese."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import pandas as pd

from lab import record
from lab.config import Parameters
from lab.export.figures import plain
from lab.results import evidence, plan, words
from lab.results.cells import (
    BASES,
    MISSING,
    PART_NAMES,
    by_cell,
    changes,
    mean_accuracy,
    pretrained_pairs,
    random_pairs,
    reader_name,
)


def config_table(config: Parameters) -> pd.DataFrame:
    """All parameters of a run with their meaning."""
    rows = [
        (f"`{each.name}`", str(getattr(config, each.name)) or "（空）", each.metadata["meaning"])
        for each in fields(config)
    ]
    return pd.DataFrame(rows, columns=["参数", "取值", "意义"])


def accuracy_table(results: list[dict], dim: int) -> pd.DataFrame:
    """Test accuracy (%) of the lab sheet's cells of ``dim`` dimensions over seeds; a cell that has not been run says so."""
    cells = by_cell(results)
    rows = [
        {"$N_L$-$N_D$": f"{layers}-{directions}"}
        | {base: accuracy_text(cells[base, layers, directions, dim].values()) for base in BASES}
        for layers, directions in sorted({(cell.layers, cell.directions) for cell in cells if cell.dim == dim})
    ]
    return pd.DataFrame(rows)


def accuracy_text(runs: Iterable[dict]) -> str:
    """Runs in per cent: mean ± standard deviation over seeds, and their number."""
    values = [run["test"]["accuracy"] * 100 for run in runs]
    if not values:
        return MISSING
    found = evidence.summary(values)
    return f"**{found.mean:.2f}**" + ("" if found.sd is None else f" ± {found.sd:.2f}") + f"（n={found.n}）"


def reference_table(results: list[dict]) -> pd.DataFrame:
    """Every cell beside the reference figure and the 95 % prediction interval of one further run, in per cent."""
    rows = []
    for row in evidence.reference_table(results).itertuples():
        known, span = row.n > 0, not np.isnan(row.low)
        rows.append(
            {
                "配置": row.cell.label,
                "种子数": row.n,
                "均值": f"{row.mean * 100:.2f}" if known else MISSING,
                "参考": f"{row.reference * 100:.2f}",
                "差": signed((row.mean - row.reference) * 100) if known else "–",
                "再运行一次的预测区间": f"[{row.low * 100:.2f}, {row.high * 100:.2f}]" if span else "–",
                "参考值的位置": row.place,
            }
        )
    return pd.DataFrame(rows)


def verdict_table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of ``evidence.verdicts`` for the eye; differences in percentage points."""
    rows = []
    for row in verdicts.itertuples():
        tested = row.n_seeds > 1
        rows.append(
            {
                "参考报告的结论": row.claim,
                "判定": row.verdict,
                "配对": row.main,
                "种子": row.n_seeds,
                "平均差": signed(row.difference * 100) if tested else "–",
                "95%区间": between(row.low * 100, row.high * 100) if tested else "–",
                "校正p值": p_cell(row.p_holm) if tested else "–",
                "可检出差异": f"{row.visible * 100:.2f}" if tested else "–",
            }
        )
    return pd.DataFrame(rows)


def signed(value: float) -> str:
    """A difference with its sign, the minus as long as the plus."""
    return f"{value:+.2f}".replace("-", "−")


def between(low: float, high: float) -> str:
    """An interval of differences."""
    return f"[{signed(low)}, {signed(high)}]"


def p_cell(p: float) -> str:
    """A p value below a head that says what it is."""
    return evidence.p_text(p).removeprefix("p").removeprefix("=")


def gain_row(name: str, pairs: list[tuple[dict, dict]]) -> dict:
    """What a change is worth: accuracies (%) without and with it, and their difference, paired by seed."""
    mean, half = evidence.gain(pairs)
    before, after = zip(*pairs, strict=True)
    return {
        "比较": name,
        "种子数": len(pairs),
        "之前": f"{mean_accuracy(before) * 100:.2f}",
        "之后": f"{mean_accuracy(after) * 100:.2f}",
        "差": signed(mean),
        "95%区间": "–" if half is None else between(mean - half, mean + half),
    }


def gain_table(results: list[dict]) -> pd.DataFrame:
    """What pre-trained vectors, other settings and a language model to start from are worth, a row for each comparison."""
    rows = [gain_row(f"{base} 1-1：随机词向量→GloVe", pairs) for base, pairs in random_pairs(results).items() if pairs]
    rows += [gain_row(f"{change.cell.label}：默认→{change.label}", change.pairs) for change in changes(results)]
    rows += [
        gain_row(f"{reader_name(name)}：GloVe→语言模型初始化", pairs)
        for name, pairs in pretrained_pairs(results).items()
    ]
    return pd.DataFrame(rows, columns=["比较", "种子数", "之前", "之后", "差", "95%区间"])


def short_table(results: list[dict]) -> pd.DataFrame:
    """Cells whose mean is more than ``plan.SHORT`` below the reference: losses of the chosen epoch, gradient norms."""
    rows = []
    found, cells = evidence.reference_table(results), by_cell(results)
    for row in found[found["mean"] < found["reference"] - plan.SHORT].itertuples():
        runs = list(cells[row.cell].values())
        chosen = [run["history"][run["best_epoch"] - 1] for run in runs]
        epochs = [epoch for run in runs for epoch in run["history"] if "grad_norm" in epoch]
        rises = [b["train_loss"] > a["train_loss"] for run in runs for a, b in itertools.pairwise(run["history"])]
        rows.append(
            {
                "配置": row.cell.label,
                "差": signed((row.mean - row.reference) * 100),
                "选中的轮": "、".join(str(run["best_epoch"]) for run in runs),
                "训练损失": float(np.mean([epoch["train_loss"] for epoch in chosen])),
                "验证损失": float(np.mean([epoch["valid_loss"] for epoch in chosen])),
                "回升轮数": f"{sum(rises)}/{len(rises)}",
                "梯度中位数": f"{np.median([epoch['grad_norm'] for epoch in epochs]):.2f}" if epochs else "–",
                "梯度最大值": f"{max(epoch['grad_norm_max'] for epoch in epochs):.1f}" if epochs else "–",
            }
        )
    return pd.DataFrame(rows)


def control_table(results: list[dict], linear: list[dict]) -> pd.DataFrame:
    """The controls beside the cells they are compared with: random vectors, and a linear model without any."""
    rows, table = [], by_cell(results)
    for base, pairs in random_pairs(results).items():
        rows.append((f"{base} 1-1，GloVe", accuracy_text(table[base, 1, 1, 100].values())))
        rows.append((f"{base} 1-1，随机词向量", accuracy_text([random for random, _ in pairs])))
    rows.append(("TF-IDF（词与词对）加逻辑回归", accuracy_text(linear)))
    return pd.DataFrame(rows, columns=["模型", "测试准确率（%）"])


def mcnemar_table(pairs: dict[str, tuple[dict, dict]]) -> pd.DataFrame:
    """The four counts of a McNemar table for each pair of runs (first, second), and the exact test's p."""
    rows = []
    for name, (one, two) in pairs.items():
        a, b = record.right(one), record.right(two)
        found = evidence.mcnemar(a, b)
        rows.append(
            {
                "前者对后者": name,
                "都判对": f"{(a & b).sum():,}",
                "仅前者判对": f"{found.n10:,}",
                "仅后者判对": f"{found.n01:,}",
                "都判错": f"{(~a & ~b).sum():,}",
                "准确率之差": signed(found.difference * 100),
                "p": p_cell(found.p),
            }
        )
    return pd.DataFrame(rows)


def length_table(results: list[dict], summary: dict) -> pd.DataFrame:
    """Test accuracy of each base's one-layer, one-direction cell by review length, over all its seeds.

    Columns: base, bin, reviews, accuracy, low, high (95 % Wilson interval of the reviews of one run).
    """
    _, lengths = record.summary_labels(summary)
    bins = np.digitize(lengths, LENGTH_BINS[1:-1], right=True)
    names = [f"{low + 1}–{high}" for low, high in itertools.pairwise(LENGTH_BINS)]
    names[0], names[-1] = f"≤{LENGTH_BINS[1]}", f">{LENGTH_BINS[-2]}"
    rows = []
    for base in BASES:
        runs = by_cell(results)[base, 1, 1, 100].values()
        if not runs:
            continue
        right = np.mean([record.right(run) for run in runs], axis=0)
        for at, name in enumerate(names):
            if n := int((bins == at).sum()):
                accuracy = right[bins == at].mean()
                low, high = evidence.wilson(round(accuracy * n), n)
                rows.append(dict(base=base, bin=name, reviews=n, accuracy=accuracy, low=low, high=high))
    return pd.DataFrame(rows, columns=["base", "bin", "reviews", "accuracy", "low", "high"])


def data_table(summary: dict) -> pd.DataFrame:
    """Size of each part: reviews, tokens, share of unknown ones, lengths."""
    rows = [
        {
            "部分": name,
            "影评数": f"{summary['sizes'][part]:,}",
            "词元数": f"{summary['tokens'][part]:,}",
            "未知词元": f"{summary['unknown_tokens'][part] / summary['tokens'][part]:.2%}",
            "长度中位数": summary["length_quantiles"][part][2],
            "最长": f"{summary['length_quantiles'][part][5]:,}",
        }
        for part, name in PART_NAMES.items()
    ]
    return pd.DataFrame(rows)


LENGTH_BINS = (0, 100, 150, 200, 300, 500, 1000, 10**9)  # tokens; each bin holds its upper end


def traces_table(traces: dict) -> pd.DataFrame:
    """Name, true class and a short passage of each traced review, its words coloured by what they change for the LSTM."""
    rows = []
    for review in traces["reviews"]:
        passage, path = review["passage"].split(" "), review["probability"]["LSTM"]
        start = record.passage_start(review["turn"] - 1)
        before = path[start - 1] if start else 0.5
        rows.append(
            {
                "影评": plain(review["name"]),
                "情形": review["kind"],
                "读完时的概率": "、".join(f"{base} {path[-1]:.2f}" for base, path in review["probability"].items()),
                "第几个词元起": start + 1,
                "LSTM变化最大处": words.spans(passage, path[start : start + len(passage)], before, plain),
            }
        )
    return pd.DataFrame(rows)


def environment_table(results: list[dict], summary: dict | None) -> pd.DataFrame:
    """What the figures were made with: every distinct version, processor and fingerprint among the runs."""
    found: dict[str, set] = {}
    for result in results:
        for name, version in result["versions"].items():
            found.setdefault(name, set()).add(version)
        found.setdefault("处理器", set()).add(f"{result['processor']}，{result['threads']}线程")
        found.setdefault("数据指纹（随种子与清洗规则而异）", set()).add(result["data"]["fingerprint"])
    if not results and summary:
        found["数据指纹（随种子与清洗规则而异）"] = {summary["fingerprint"]}
    return pd.DataFrame(
        [(name, "；".join(sorted(values))) for name, values in found.items()] or [(MISSING, MISSING)],
        columns=["项目", "取值"],
    )


def runs_table(results: list[dict]) -> pd.DataFrame:
    """A row per run: chosen epoch, validation and test figures, time."""
    rows = [
        {
            "运行": f"`{result['run_id']}`",
            "选中的轮": result["best_epoch"],
            "验证损失": f"{result['valid']['loss']:.4f}",
            "验证准确率（%）": result["valid"]["accuracy"] * 100,
            "测试准确率（%）": result["test"]["accuracy"] * 100,
            "用时（分）": result["seconds"] / 60,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def confusion_matrix(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(2, 2) counts: rows true negative/positive, columns judged negative/positive."""
    right = np.asarray(labels, dtype=int), np.asarray(probability) > 0.5
    return np.histogram2d(*right, bins=(2, 2), range=((0, 1), (0, 1)))[0].astype(int)


def calibration(labels: np.ndarray, probability: np.ndarray, n_bins: int = 10) -> tuple[float, float]:
    """Expected calibration error over bins of equal width (Naeini et al. 2015), and the Brier score."""
    bins = evidence.probability_bins(probability, n_bins)
    error = sum(
        abs(probability[bins == at].mean() - labels[bins == at].mean()) * (bins == at).mean() for at in set(bins)
    )
    return float(error), float(np.mean((probability - labels) ** 2))
