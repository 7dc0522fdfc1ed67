"""The lab's pictures: each function takes results or arrays and returns a Matplotlib figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.transforms import Bbox

from lab.export.figures import COLORS, LINES, MARKERS
from lab.results import evidence, speed
from lab.results.cells import BASES, REFERENCE, by_cell, mean_accuracy


def learning_curves(results: list[dict]):
    """Training and validation loss per epoch, a panel for each run; the chosen epoch is marked."""
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    size = (6.4, 3.2) if len(results) == 1 else (1.6 * columns, 1.6 * rows)
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
            axis.tick_params(labelsize=8)
    fig.supxlabel("轮", fontsize=10)
    fig.supylabel("损失（nat/篇）", fontsize=10)
    axes.flat[0].legend(fontsize=9 if len(results) == 1 else 8)
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
    longest = [counts[part][-1] / sum(counts[part]) for part in ("train", "test")]
    if any(longest):
        text = "最右一条：{:,}个及以上，\n占训练集的{:.2%}，测试集的{:.2%}".format(edges[-1], *longest)
        axis.text(0.99, 0.4, text, ha="right", transform=axis.transAxes, fontsize=8)
    axis.set(xlabel="影评长度（词元数）", ylabel="占该部分的百分比（%）")
    axis.legend()
    return fig


def word_map(words: list[str], points: np.ndarray, groups: list[str]):
    """Words at their places in the plane, a colour for each centre and its neighbours."""
    fig, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    colors = dict(zip(dict.fromkeys(groups), plt.get_cmap("tab10").colors, strict=False))
    axis.set(xticks=[], yticks=[])  # only the distances have a meaning
    labels = []
    for word, (x, y), group in zip(words, points, groups, strict=True):
        axis.plot(x, y, ".", color=colors[group])
        size = 12 if word == group else 8.5  # the font has no bold
        style = dict(textcoords="offset points", fontsize=size, color=colors[group])
        labels.append(axis.annotate(word, (x, y), (3, 2), **style))
    axis.margins(0.1)
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # the axes stay where they are now
    _apart(labels, axis.transData.transform(points))
    return fig


def _apart(labels: list, dots: np.ndarray) -> None:
    """Put each label on that side of its dot (N, 2 pixels) where it covers least of the others' labels and dots."""
    taken = [Bbox.from_extents(*(dot - 3), *(dot + 3)) for dot in dots]

    def put(label, side) -> None:
        across = ("right", "center", "left")[1 + np.sign(side[0])]
        label.set(position=side, ha=across, va="top" if side[1] < 0 else "bottom")

    def covered(label, side) -> float:
        put(label, side)
        boxes = (Bbox.intersection(label.get_window_extent(), box) for box in taken)
        return sum(box.width * box.height for box in boxes if box is not None)

    for label in sorted(labels, key=lambda label: -label.get_fontsize()):
        best = min(((3, 2), (-3, 2), (3, -2), (-3, -2), (0, 4), (0, -4)), key=lambda side: covered(label, side))
        put(label, best)
        taken.append(label.get_window_extent())


def overfitting_gap(results: list[dict]):
    """Validation minus training loss per epoch: thin lines for the runs, a thick one for each base's mean."""
    fig, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    for base, color in COLORS.items():
        runs = [pd.DataFrame(run["history"]) for run in results if run["config"]["MODEL_BASE"] == base]
        gaps = [run.valid_loss - run.train_loss for run in runs]
        for run, gap in zip(runs, gaps, strict=True):
            axis.plot(run.epoch, gap, color=color, linewidth=0.6, alpha=0.5)
        if gaps:
            mean = pd.concat(gaps, axis=1).mean(axis=1)
            axis.plot(mean.index + 1, mean, color=color, linestyle=LINES[base], linewidth=2.5, label=f"{base}的平均")
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel="轮", ylabel="验证损失－训练损失（nat）")
    axis.legend()
    return fig


def accuracy_by_length(table: pd.DataFrame):
    """Accuracy over review length with 95 % intervals; ``table`` is ``tables.length_table``'s."""
    fig, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    bins = list(dict.fromkeys(table["bin"]))
    for base, offset in zip(COLORS, (-0.06, 0.06), strict=True):
        rows = table[table["base"] == base]
        if len(rows):
            x = np.array([bins.index(name) for name in rows["bin"]]) + offset
            bars = np.stack([rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]) * 100
            style = dict(color=COLORS[base], linestyle=LINES[base], marker=MARKERS[base], capsize=3)
            axis.errorbar(x, rows["accuracy"] * 100, bars, label=base, **style)
    axis.set_xticks(range(len(bins)), bins)
    axis.set(xlabel="影评长度（词元数）", ylabel="测试准确率（%）")
    axis.legend()
    return fig


def calibration(labels: np.ndarray, probability: np.ndarray, n_bins: int = 10):
    """Reliability diagram: how often reviews judged positive with a probability are positive."""
    fig, (axis, below) = plt.subplots(2, 1, figsize=(4.2, 4.2), sharex=True, height_ratios=(3, 1), layout="constrained")
    place = evidence.probability_bins(probability, n_bins)
    counts = np.bincount(place, minlength=n_bins)
    some = counts > 0
    mean = np.bincount(place, probability, n_bins)[some] / counts[some]
    share = np.bincount(place, labels, n_bins)[some] / counts[some]
    axis.plot([0, 1], [0, 1], color="gray", linewidth=0.8, label="完美校准")
    axis.plot(mean, share, "s-", label="模型")
    axis.set(ylabel="其中真为正面的比例", ylim=(0, 1))
    axis.legend()
    below.bar((np.arange(n_bins) + 0.5) / n_bins, counts, 0.9 / n_bins)
    below.set(xlabel="模型给出的正面概率", ylabel="影评数", xlim=(0, 1))
    return fig


def traces(reviews: list[dict]):
    """Probability of 'positive' after each token of some wrongly judged reviews, a panel for each review."""
    fig, axes = plt.subplots(
        len(reviews), 1, figsize=(6.4, 1.6 * len(reviews)), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, review in zip(axes.flat, reviews, strict=True):
        for base, path in review["probability"].items():
            axis.plot(np.arange(1, len(path) + 1), path, color=COLORS[base], linestyle=LINES[base], label=base)
        axis.axhline(0.5, color="gray", linewidth=0.8)
        truth = "正面" if review["label"] else "负面"
        axis.set_title(f"{review['name']}（真实类别：{truth}）", fontsize=9, loc="left")
        axis.set(ylim=(0, 1), ylabel="正面的概率")
    axes[0, 0].legend(ncols=2, fontsize=8)
    axes[-1, 0].set_xlabel("读到第几个词元")
    return fig


def growth(machines: list[dict]):
    """Seconds of a training step over its number of steps T, ours and packed, both axes logarithmic; a panel a machine."""
    n = max(1, len(machines))
    fig, axes = plt.subplots(1, n, figsize=(6.4, 3.6), sharey=True, squeeze=False, layout="constrained")
    for axis, machine in zip(axes.flat, machines, strict=False):
        for base, color in COLORS.items():
            for part, label, line in (("steps", "本项目", "-"), ("packed_steps", "打包（PyTorch）", ":")):
                rows = [row for row in machine[part] if row["base"] == base]
                lengths, seconds = [row["steps"] for row in rows], [row["seconds"] for row in rows]
                axis.loglog(lengths, seconds, line, color=color, marker=MARKERS[base], label=f"{base}，{label}")
        ticks = sorted({row["steps"] for row in machine["steps"]} - {300})
        axis.set_xticks(ticks, ticks, rotation=45 if n > 1 else 0)
        axis.minorticks_off()
        axis.set(title=speed.label(machine), xlabel="序列长度T（词元）")
    axes[0, 0].set_ylabel("训练一步的时间（秒）")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def confusion(matrix: np.ndarray):
    """Counts and row shares of a (2, 2) confusion matrix."""
    fig, axis = plt.subplots(figsize=(3.6, 2.9), layout="constrained")
    share, names = matrix / matrix.sum(1, keepdims=True), ("负面", "正面")
    text = [[f"{matrix[at]:,}\n{share[at]:.1%}" for at in row] for row in (((0, 0), (0, 1)), ((1, 0), (1, 1)))]
    options = dict(fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, xticklabels=names, yticklabels=names)
    seaborn.heatmap(share, annot=np.array(text), ax=axis, **options)
    for words, part in zip(axis.texts, share.flat, strict=True):  # seaborn's own choice is white on a middle blue
        words.set_color("white" if part > 0.7 else "#222222")
    axis.set(xlabel="模型的判断", ylabel="真实类别")
    return fig


def seed_dots(reference: pd.DataFrame, results: list[dict]):
    """Test accuracy of every cell: seeds as dots, their mean with the prediction interval, the reference as a bar.

    An interval that is wider than the axis is cut off. ``reference`` is ``evidence.reference_table``'s.
    """
    rows, cells = reference[reference["n"] > 0], by_cell(results)
    groups = list(dict.fromkeys((cell.dim, cell.layers, cell.directions) for cell in rows["cell"]))
    fig, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for base, offset in zip(BASES, (-0.18, 0.18), strict=True):
        axis.plot([], [], MARKERS[base], color=COLORS[base], markersize=6, label=base)
        for row in rows[[cell.base == base for cell in rows["cell"]]].itertuples():
            x = groups.index((row.cell.dim, row.cell.layers, row.cell.directions)) + offset
            values = [run["test"]["accuracy"] * 100 for run in cells[row.cell].values()]
            if not np.isnan(row.low):
                axis.vlines(x, row.low * 100, row.high * 100, color=COLORS[base], linewidth=1.2, alpha=0.6)
            axis.plot([x] * len(values), values, ".", color=COLORS[base], markersize=5, alpha=0.8)
            axis.plot(x, row.mean * 100, MARKERS[base], color=COLORS[base], markersize=6)
            axis.hlines(REFERENCE[row.cell] * 100, x - 0.14, x + 0.14, color="black", linewidth=1.4)
    axis.plot([], [], "_", color="black", markersize=10, markeredgewidth=1.4, label="参考报告")
    names = [f"{layers}-{directions}" + ("" if dim == 100 else f"\n{dim}维") for dim, layers, directions in groups]
    axis.set_xticks(range(len(groups)), names)
    lowest = min((run["test"]["accuracy"] * 100 for runs in cells.values() for run in runs.values()), default=0)
    axis.set(ylabel="测试准确率（%）", xlabel="层数-方向数", ylim=(lowest - 5, 100))
    axis.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


def forest(comparisons: pd.DataFrame):
    """Difference of every pair that has been run with its 95 % interval, sorted by claim; positive as claimed."""
    rows = comparisons[comparisons["seeds"].map(len) > 0]
    claims = list(dict.fromkeys(rows["claim"]))
    fig, axis = plt.subplots(figsize=(6.4, 0.6 + 0.19 * (len(rows) + 1.4 * len(claims))), layout="constrained")
    styles = {
        "支持": ("o", COLORS["LSTM"]),
        "相反": ("X", COLORS["RNN"]),
        "不显著": ("o", "#7f7f7f"),
        "单个种子": ("|", "#7f7f7f"),
    }
    y, ticks, names, seen = 0.0, [], [], set()
    for claim in claims:
        ticks.append(y)
        names.append(claim)
        y += 1
        for row in rows[rows["claim"] == claim].itertuples():
            marker, color = styles[row.outcome]
            label = None if row.outcome in seen else row.outcome
            seen.add(row.outcome)
            axis.hlines(y, row.low * 100, row.high * 100, color=color, linewidth=1.2)
            face = color if row.outcome in ("支持", "相反") else "white"
            axis.plot(row.difference * 100, y, marker, color=color, markerfacecolor=face, markersize=5, label=label)
            ticks.append(y)
            names.append(f"{_short(row.better)}对{_short(row.worse)}（n={len(row.seeds)}）")
            y += 1
        y += 0.4
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(ticks, names, fontsize=8)
    for words in axis.get_yticklabels():
        if words.get_text() in claims:
            words.set(color=COLORS["LSTM"], fontsize=9)
    axis.set(ylim=(y, -1), xlabel="测试准确率之差（百分点，正值与结论同向）")
    axis.grid(axis="y", visible=False)
    axis.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


def _short(cell) -> str:
    """A cell's name without the usual 100 dimensions."""
    return cell.label.replace("（100维）", "").replace("（", " ").replace("）", "")


def ladder(groups: dict[str, list[dict]]):
    """Accuracy of kinds of models, lowest first: seeds as dots, mean as a mark with its value beside it.

    ``groups``: name -> runs, coloured by their layer (a linear model is grey).
    """
    means = {name: mean_accuracy(runs) * 100 for name, runs in groups.items() if runs}
    names = sorted(means, key=means.get)
    fig, axis = plt.subplots(figsize=(6.4, 0.8 + 0.27 * len(names)), layout="constrained")
    for y, name in enumerate(names):
        base = groups[name][0]["config"].get("MODEL_BASE")
        color = COLORS.get(base, "#555555")
        values = [run["test"]["accuracy"] * 100 for run in groups[name]]
        axis.plot(values, [y] * len(values), ".", color=color, markersize=5, alpha=0.6)
        axis.plot(means[name], y, MARKERS.get(base, "D"), color=color, markersize=7)
        place = (max(values), y)
        axis.annotate(f"{means[name]:.2f}", place, xytext=(8, 0), textcoords="offset points", va="center", fontsize=9)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="测试准确率（%）", ylim=(-0.6, len(names) - 0.4))
    axis.margins(x=0.08)
    return fig


def accuracy_by_hours(runs: list[tuple[dict, float]], levels: dict[str, float]):
    """Test accuracy against training time of (run, hours), a language model's included; ``levels`` (%) are lines of others."""
    fig, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for base in BASES:
        for pretrained, filled, name in ((False, "none", "只用词向量"), (True, COLORS[base], "以语言模型初始化")):
            some = [
                (hours, run["test"]["accuracy"] * 100)
                for run, hours in runs
                if (run["config"]["MODEL_BASE"], bool(run["config"]["PRETRAINED"])) == (base, pretrained)
            ]
            if some:
                style = dict(edgecolors=COLORS[base], facecolors=filled, marker=MARKERS[base], linewidths=0.9)
                axis.scatter(*zip(*some, strict=True), s=24, label=f"{base}，{name}", **style)
    groups: list[list[tuple[str, float]]] = []  # levels that are close to each other are named in one line
    for name, level in sorted(levels.items(), key=lambda each: each[1]):
        axis.axhline(level, color="gray", linewidth=0.8, linestyle="--", zorder=0)
        if not groups or level - groups[-1][0][1] > 0.5:
            groups.append([])
        groups[-1].append((name, level))
    for group in groups:
        place = dict(xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", fontsize=8)
        place["bbox"] = dict(facecolor=axis.get_facecolor(), edgecolor="none", pad=0.3)  # over the line above
        axis.annotate("；".join(f"{name}，{level:.2f}" for name, level in group), (0.01, group[-1][1]), **place)
    axis.margins(y=0.08)
    axis.set(xscale="log", xlabel="训练用时（小时，含语言模型）", ylabel="测试准确率（%）")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.legend(loc="lower right")
    return fig
