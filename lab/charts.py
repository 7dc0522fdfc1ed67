"""The lab's pictures: each function takes results or arrays and returns a Matplotlib figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lab import statistics
from lab.data import Dataset
from lab.figures import COLORS, LINES, MARKERS

MISSING = "未运行"


def learning_curves(results: list[dict]):
    """Training and validation loss per epoch, a panel for each run; the chosen epoch is marked."""
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    size = (6.4, 3.2) if len(results) == 1 else (1.9 * columns, 1.75 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    for axis, result in zip(axes.flat, results, strict=False):
        history = pd.DataFrame(result["history"])
        color = COLORS[result["config"]["MODEL_BASE"]]
        axis.plot(history.epoch, history.train_loss, color=color, linestyle=":", label="训练")
        axis.plot(history.epoch, history.valid_loss, color=color, label="验证")
        best = history.iloc[result["best_epoch"] - 1]
        axis.plot(best.epoch, best.valid_loss, "o", color=color, markersize=5, label="选中的一轮")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if len(results) > 1:
            axis.set_title(result["run_id"].rsplit("-s", 1)[0], fontsize=8)
            axis.tick_params(labelsize=7)
    fig.supxlabel("轮", fontsize=10)
    fig.supylabel("损失（nat/篇）", fontsize=10)
    axes.flat[0].legend(fontsize=9 if len(results) == 1 else 6)
    return fig


def length_histogram(summary: dict):
    """Histogram of review lengths in tokens, training and test side by side."""
    fig, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    edges = np.array(summary["length_edges"])
    counts = summary["length_counts"]
    step = edges[1] - edges[0]
    shown = max(at for part in counts.values() for at, count in enumerate(part) if count) + 1
    for name, part, style in (
        ("训练", "train", dict(alpha=0.55)),
        ("测试", "test", dict(fill=False, edgecolor="black")),
    ):
        heights = np.array(counts[part]) / sum(counts[part]) * 100
        axis.bar(edges[:shown] + step / 2, heights[:shown], width=step, label=name, linewidth=0.8, **style)
    if counts["train"][-1] or counts["test"][-1]:
        axis.text(0.99, 0.5, f"最右一格：{edges[-1]:,}个及以上", ha="right", transform=axis.transAxes, fontsize=8)
    axis.set(xlabel="影评长度（词元数）", ylabel="占该部分的百分比（%）")
    axis.legend()
    return fig


def confusion(matrix: np.ndarray):
    """Counts and row shares of a (2, 2) confusion matrix."""
    fig, axis = plt.subplots(figsize=(3.6, 2.9), layout="constrained")
    share = matrix / matrix.sum(1, keepdims=True)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if share[row, column] > 0.5 else "black"
        axis.text(column, row, f"{count:,}\n{share[row, column]:.1%}", ha="center", va="center", color=color)
    axis.set(xticks=(0, 1), yticks=(0, 1), xticklabels=("负面", "正面"), yticklabels=("负面", "正面"))
    axis.set(xlabel="模型的判断", ylabel="真实类别")
    axis.grid(False)
    return fig


def token_path(words: list[str], probability: np.ndarray, curves: dict[str, np.ndarray] | None = None):
    """Probability of 'positive' after each token of a review, the tokens written below."""
    fig, axis = plt.subplots(figsize=(max(6.4, 0.24 * len(words)), 3.0), layout="constrained")
    steps = np.arange(len(words))
    for name, path in (curves or {"": probability}).items():
        style = dict(color=COLORS[name], linestyle=LINES[name], marker=MARKERS[name], label=name) if name else {}
        axis.plot(steps, path, **({"marker": "o"} | style), markersize=3)
    axis.axhline(0.5, color="gray", linewidth=0.8)
    axis.set_xticks(steps, words, rotation=90, fontsize=8)
    axis.set(ylim=(0, 1), xlabel="读到的词元", ylabel="正面的概率")
    if curves:
        axis.legend()
    return fig


def heatmap(results: list[dict], dim: int = 100):
    """Mean test accuracy (%) over layers and directions, a panel for each base; cells not run stay white."""
    cells = statistics.by_cell(results)
    layers, directions = (1, 2, 5), (1, 2)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.5), sharey=True, layout="constrained")
    grids = {}
    for base in COLORS:
        grids[base] = np.full((len(layers), len(directions)), np.nan)
        for row, n_layers in enumerate(layers):
            for column, n_directions in enumerate(directions):
                if runs := cells[base, n_layers, n_directions, dim].values():
                    grids[base][row, column] = np.mean([run["test"]["accuracy"] for run in runs]) * 100
    values = np.concatenate([grid.ravel() for grid in grids.values()])
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if len(known) else (0, 100)
    for axis, base in zip(axes, COLORS, strict=True):
        image = axis.imshow(grids[base], cmap="Blues", vmin=low - 1, vmax=high + 1, aspect="auto")
        for (row, column), value in np.ndenumerate(grids[base]):
            text = MISSING if np.isnan(value) else f"{value:.2f}"
            axis.text(
                column, row, text, ha="center", va="center", color="white" if value > (low + high) / 2 else "black"
            )
        axis.set(title=f"{base}（{dim}维）", xticks=(0, 1), xticklabels=directions, xlabel="方向数")
        axis.set_yticks(range(len(layers)), layers)
        axis.grid(False)
    axes[0].set_ylabel("层数")
    fig.colorbar(image, ax=axes, label="测试准确率（%）")
    return fig


def neighbours(dataset: Dataset, table: np.ndarray, n_centres: int = 8, n_near: int = 4):
    """Frequent telling words with their nearest neighbours by cosine, projected to the plane by PCA.

    Returns words (K), points (K, 2) and the centre each word belongs to (K).
    """
    from sklearn.decomposition import PCA

    wanted = "good bad great terrible actor movie funny story boring music love war child king".split()
    number = {word: at for at, word in enumerate(dataset.vocabulary)}
    centres = [word for word in wanted if word in number][:n_centres]
    known = np.argsort(-dataset.counts)[:5000]
    known = known[known > 1]
    rows = table[known] / np.linalg.norm(table[known], axis=1, keepdims=True)
    words, groups, taken = [], [], set()
    for centre in centres:
        row = table[number[centre]] / np.linalg.norm(table[number[centre]])
        near = [centre] + [dataset.vocabulary[known[at]] for at in np.argsort(-rows @ row)]
        fresh = [word for word in dict.fromkeys(near) if word not in taken][: n_near + 1]
        taken.update(fresh)
        words += fresh
        groups += [centre] * len(fresh)
    points = PCA(2, random_state=0).fit_transform(np.stack([table[number[word]] for word in words]))
    return words, points, groups


def word_map(words: list[str], points: np.ndarray, groups: list[str]):
    """Words at their places in the plane, a colour for each centre and its neighbours."""
    fig, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    colors = dict(zip(dict.fromkeys(groups), plt.get_cmap("tab10").colors, strict=False))
    for word, (x, y), group in zip(words, points, groups, strict=True):
        axis.plot(x, y, ".", color=colors[group])
        weight = "bold" if word == group else "normal"
        axis.annotate(word, (x, y), (3, 2), textcoords="offset points", fontsize=9, color=colors[group], weight=weight)
    axis.set(xlabel="第一主成分", ylabel="第二主成分")
    return fig
