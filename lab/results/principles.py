"""Pictures and sentences about the theory, from what lab.model.experiments measured."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np

from lab import files
from lab.export.figures import COLORS

# The layers compared; "open" is an LSTM whose forget gates begin open.
NAMES = {
    "tanh": "RNN（tanh）",
    "sigmoid": "RNN（sigmoid）",
    "orthogonal": "RNN（tanh，正交初始化）",
    "LSTM": "LSTM（默认初始化）",
    "open": "LSTM（遗忘门偏置{}）",
}


def load(name: str) -> dict | None:
    """The kept result of an experiment, or None."""
    for folder in (files.results_dir("theory"), files.PROJECT / "report" / "results" / "theory"):
        if (folder / f"{name}.json").is_file():
            return files.read_json(folder / f"{name}.json")
    return None


# ------------------------------------------------------------------------------------- pictures and sentences

STYLES = {
    "tanh": dict(color=COLORS["RNN"], linestyle="--", marker="o"),
    "sigmoid": dict(color=COLORS["RNN"], linestyle=":", marker="v"),
    "orthogonal": dict(color=COLORS["RNN"], linestyle="-.", marker="D"),
    "large": dict(color=COLORS["RNN"], linestyle="-", marker="^"),
    "LSTM": dict(color=COLORS["LSTM"], linestyle="-", marker="s", markerfacecolor="white"),
    "open": dict(color=COLORS["LSTM"], linestyle="-", marker="s"),
}
CHECKS = {
    "states": "在真实影评的词向量上，按公式算出的各步状态与`torch.nn.RNN`最多相差",
    "bptt": "在真实影评的词向量上，手写的梯度与自动微分最多相差",
    "lstm": "手写的LSTM及其梯度与`torch.nn.LSTM`和自动微分最多相差",
    "bound": "在所测每篇影评的每一步（$k<t$）上，RNN的梯度范数之比除以上界$\\eta^{t-k}$，最大为",
}
STAGES = {"before": "训练前", "after": "训练后"}
GRADIENT = r"$\|\partial L_t/\partial\boldsymbol{h}_k\|\;/\;\|\partial L_t/\partial\boldsymbol{h}_t\|$"


def name(kind: str, data: dict) -> str:
    """What a kind of layer is called in the pictures of ``data``."""
    return NAMES[kind].format(data.get("forget_bias"))


def power(value: float) -> str:
    """A positive number in Markdown, as a power of ten where it is tiny or huge."""
    if 1e-3 <= value < 1e3:
        return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    if value <= 0:
        return "0"
    digits, exponent = f"{value:.0e}".split("e")
    return f"${digits}\\times10^{{{int(exponent)}}}$"


def picture(name: str):
    """Figure and sentence of one experiment from the tracked data that ``02_model.ipynb`` measured; None without them."""
    found = load("gradients" if name == "shares" else name)
    return None if found is None else (globals()[f"draw_{name}"](found), globals()[f"say_{name}"](found))


def say_check(name: str) -> str:
    """How far what was written out by hand is from ``torch.nn`` and autograd (float64), or the bound from the gradients."""
    found = load("checks")
    if found is None:
        return "检验：未运行。请运行`02_model.ipynb`。"
    return f"**检验**　{CHECKS[name]}{power(found[name])}。"


def panels(data: dict, draw):
    """Two panels, before and after training, with one legend below; ``draw(axis, kind, found, style)`` fills them."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.6), sharex=True, sharey=True, layout="constrained")
    for axis, (stage, title) in zip(axes, STAGES.items(), strict=True):
        for at, (kind, found) in enumerate(data["networks"].items()):
            every = max(1, len(found[stage]["norms"]) // 6)
            style = STYLES[kind] | dict(markevery=(at * every // 5, every), markersize=4, label=name(kind, data))
            draw(axis, kind, found[stage], style)
        axis.set(title=title, xlabel="距离$t-k$（步）")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig, axes


def draw_gradients(data: dict):
    """Gradient norms against distance before and after training; thin lines are the Elman RNNs' bounds."""

    steep = []  # bounds that leave the panel
    clear = dict(facecolor="white", edgecolor="none", pad=0.6)

    def draw(axis, kind, found, style):
        axis.plot(found["norms"], **style)
        if "eta" in found:
            bound = found["eta"] ** np.arange(len(found["norms"]))
            axis.plot(bound, color="#7f7f7f", linestyle=style["linestyle"], linewidth=0.9)
            inside = np.flatnonzero((bound > 1e-18) & (bound < 1e3))[-1]
            side = dict(xytext=(-4, 4), ha="right")
            if inside < len(bound) / 2:  # each a line below the one before
                steep.append(axis)
                side = dict(xytext=(4, 11 - 11 * steep.count(axis)), ha="left")
            text = rf"$\eta={found['eta']:.2f}$"
            axis.annotate(
                text,
                (inside, bound[inside]),
                textcoords="offset points",
                fontsize=8,
                color="#555555",
                bbox=clear,
                **side,
            )

    fig, axes = panels(data, draw)
    axes[0].set(yscale="log", ylim=(1e-20, 1e5), ylabel=GRADIENT)
    return fig


def say_gradients(data: dict, distance: int = 50) -> str:
    """The finding of ``draw_gradients`` in one sentence."""
    at = min(distance, len(data["networks"]["tanh"]["before"]["norms"]) - 1)
    parts = [
        f"{name(kind, data)}{power(found['before']['norms'][at])}、{power(found['after']['norms'][at])}"
        for kind, found in data["networks"].items()
    ]
    return (
        f"隐藏状态的梯度范数与末步之比（回传{at}步处，训练前、训练后）：{'；'.join(parts)}。"
        f"灰色细线是RNN的上界$\\eta^{{t-k}}$。训练{data['train_steps']}步后，验证准确率依次为"
        + "、".join(f"{found['accuracy']:.1%}" for found in data["networks"].values())
    )


def draw_shares(data: dict):
    """Share of dL_t/dU that comes from steps further away than a distance, before and after training."""
    fig, axes = panels(data, lambda axis, kind, found, style: axis.plot(np.array(found["beyond"]) * 100, **style))
    axes[0].set(ylim=(-2, 102), ylabel=r"更远的各步占$\partial L_t/\partial\boldsymbol{U}$的份额（%）")
    return fig


def say_shares(data: dict, distance: int = 20) -> str:
    """The finding of ``draw_shares`` in one sentence."""
    at = min(distance, len(data["networks"]["tanh"]["after"]["beyond"]) - 1)
    parts = [f"{name(kind, data)}{found['after']['beyond'][at]:.1%}" for kind, found in data["networks"].items()]
    size = min(found["after"]["weight_gradient"] for found in data["networks"].values())
    return (
        f"远处各项在$\\partial L_t/\\partial\\boldsymbol{{U}}$各项范数之和中的份额（训练后，距离超过{at}步）：{'，'.join(parts)}；"
        f"$\\partial L_t/\\partial\\boldsymbol{{U}}$本身没有消失，范数都不小于{size:.2g}"
    )


def draw_remedies(data: dict):
    """Left: gradients for three initialisations; right: loss of training with exploding gradients, clipped or not."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
    labels = dict(tanh="默认初始化", orthogonal="正交初始化", large=f"放大{data['scale']:g}倍")
    for kind, label in labels.items():
        norms = data["starts"][kind]["norms"]
        left.plot(norms, **STYLES[kind], markevery=max(1, len(norms) // 6), markersize=4, label=label)
    left.set(yscale="log", xlabel="距离$t-k$（步）", ylabel=GRADIENT, title="训练前的梯度")
    left.legend()
    for key, label, style in (("free", "不裁剪", "-"), ("clipped", f"裁剪到{data['clip']:g}", "--")):
        color = COLORS["RNN"] if key == "free" else "#555555"
        right.plot(data["training"][key]["losses"], style, color=color, linewidth=1.2, label=label)
    right.axhline(math.log(2), color="#7f7f7f", linewidth=0.8)
    right.annotate("随机猜：ln 2", (0, math.log(2)), xytext=(2, -11), textcoords="offset points", fontsize=8)
    right.set(xlabel="训练步数", ylabel="损失（nat/篇）", title=f"放大{data['scale']:g}倍后的训练", ylim=(0, None))
    right.legend()
    return fig


def say_remedies(data: dict, distance: int = 50) -> str:
    """The finding of ``draw_remedies`` in one sentence."""
    at = min(distance, len(data["starts"]["tanh"]["norms"]) - 1)
    start = {kind: power(found["norms"][at]) for kind, found in data["starts"].items()}
    guess = math.log(2)
    free, clipped = (np.mean(data["training"][key]["losses"][-20:]) for key in ("free", "clipped"))
    worst = max(data["training"]["free"]["norms"])
    return (
        f"正交初始化与梯度裁剪：回传{at}步，梯度在默认初始化下是末步的{start['tanh']}倍，$\\boldsymbol{{U}}$正交时是{start['orthogonal']}倍，"
        f"$\\boldsymbol{{U}}$放大{data['scale']:g}倍时是{start['large']}倍；放大后，训练中的梯度范数最高到{power(worst)}，"
        f"不裁剪的损失最后在{free:.2f}上下，裁剪的在{clipped:.2f}上下"
        + (f"，没有发散，却也没有低于随机猜测的{guess:.2f}" if guess <= clipped < free else "")
    )


def draw_distance(data: dict):
    """Accuracy of the long-range task against distance: mean of the repeats, and each of them as a dot."""
    fig, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for at, (kind, found) in enumerate(data["accuracy"].items()):
        place = np.array(data["distances"]) * 1.04 ** (at - 1.5)  # side by side, so that none hides another
        found = np.array(found) * 100  # (distances, repeats)
        axis.plot(place, found.mean(1), **STYLES[kind], markersize=6, label=name(kind, data))
        axis.plot(place, found, linestyle="", marker="_", color=STYLES[kind]["color"], alpha=0.7)
    axis.axhline(50, color="#7f7f7f", linewidth=0.8)
    axis.annotate("随机猜", (data["distances"][0], 50), xytext=(0, -10), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="第一个词元到结尾的距离（步）", ylabel="准确率（%）", ylim=(40, 103))
    axis.set_xticks(data["distances"], map(str, data["distances"]))
    axis.minorticks_off()
    axis.legend(loc="lower left", bbox_to_anchor=(0, 0.2))
    return fig


def say_distance(data: dict) -> str:
    """The finding of ``draw_distance`` in one sentence."""
    parts = []
    for kind, found in data["accuracy"].items():
        solved = [d for d, each in zip(data["distances"], found, strict=True) if min(each) > 0.95]
        least = "至少" if max(data["distances"]) in solved else ""
        parts.append(f"{name(kind, data)}{f'{least}{max(solved)}步' if solved else '各距离都未学会'}")
    repeats = len(data["accuracy"]["tanh"][0])
    every = f"{repeats}次训练都" if repeats > 1 else ""
    lines = "（折线为平均值，短横线为各次训练，左右错开以免重叠）" if repeats > 1 else ""
    return f"合成任务的准确率与距离{lines}：{every}学会（准确率高于95%）的最远距离依次是{'，'.join(parts)}"


def draw_dynamics(data: dict):
    """Error against hidden units, and the true trajectory beside those of the smallest and the largest network."""
    fig, axes = plt.subplot_mosaic(
        [["path", "path"], ["error", "phase"]], figsize=(6.4, 5.0), height_ratios=[1, 1.25], layout="constrained"
    )
    units, errors = data["units"], np.array(data["errors"]) * 100  # (sizes, repeats)
    axes["error"].loglog(units, np.median(errors, 1), color=COLORS["RNN"], linestyle="--")
    axes["error"].loglog(units, errors, "o", color=COLORS["RNN"], markersize=4)
    axes["error"].set_xticks(units, map(str, units))
    axes["error"].set_yticks(ticks := [1, 3, 5, 10, 20, 30, 50], map(str, ticks))
    axes["error"].minorticks_off()
    axes["error"].set(
        xlabel="隐藏单元数", ylabel="误差（状态标准差的%）", ylim=(errors.min() / 1.3, errors.max() * 1.3)
    )
    time, truth = np.arange(1, len(data["truth"]) + 1) * data["time_step"], np.array(data["truth"])
    axes["path"].plot(time, truth[:, 0], color="#bbbbbb", linewidth=4, label="振子")
    axes["phase"].plot(*truth.T, color="#bbbbbb", linewidth=4)
    for style, (count, path) in zip((":", "--"), data["paths"].items(), strict=False):  # one where they are equal
        color = "#555555" if style == ":" else COLORS["RNN"]
        path = np.array(path)
        axes["path"].plot(time, path[:, 0], style, color=color, label=f"{count}个隐藏单元")
        axes["phase"].plot(*path.T, style, color=color)
    axes["path"].step(time, data["force"], where="pre", color="#7f7f7f", linewidth=0.8, label="外力$u$")
    axes["path"].set(xlabel="时间（无量纲）", ylabel="位置$p$", ylim=(None, truth[:, 0].max() * 2))
    axes["path"].legend(ncols=4, loc="upper center")
    axes["phase"].set(xlabel="位置$p$", ylabel=r"速度$\dot p$")
    return fig


def say_dynamics(data: dict) -> str:
    """The finding of ``draw_dynamics`` in one sentence."""
    median = np.median(data["errors"], axis=1)
    closer = "在所试的范围内，单元越多，误差越小" if (np.diff(median) < 0).all() else "但误差并非逐次下降"
    return (
        f"循环网络对Van der Pol振子的逼近：隐藏单元从{data['units'][0]}个增加到{data['units'][-1]}个，在未参与训练的外力下，误差由状态标准差的{median[0]:.1%}"
        f"变为{median[-1]:.1%}（{len(data['errors'][0])}次训练的中位数）；{closer}"
    )


def draw_cell(data: dict):
    """One review: gradients of cell and state at each token, and the forget gates that the cell's pass through."""
    tokens, place = data["tokens"], np.arange(len(data["tokens"]))
    rows = dict(sharex=True, height_ratios=[1.7, 1, 1], layout="constrained")
    fig, (top, *lower) = plt.subplots(3, 1, figsize=(6.4, 5.8), **rows)
    for kind, found in data["networks"].items():
        style = STYLES[kind] | dict(markersize=4)
        what = (
            r"$\partial L_t/\partial\boldsymbol{c}_k$"
            if "direct" in found
            else r"$\partial L_t/\partial\boldsymbol{h}_k$"
        )
        top.plot(place, found["norms"], **style, label=f"{name(kind, data)}：{what}")
        if "direct" in found:
            style |= dict(linestyle=":", markersize=2.5)
            top.plot(place, found["direct"], **style, label=f"{name(kind, data)}：只沿细胞状态")
    top.set(yscale="log", ylabel="范数（末步为1）")
    fig.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    kinds = [kind for kind, found in data["networks"].items() if "forget" in found]
    for axis, kind in zip(lower, kinds, strict=True):
        gates = forget_gates(data["networks"][kind]).T  # (H, t)
        gates = gates[np.argsort(gates.mean(1))]  # the most forgetful units on top
        image = axis.imshow(gates, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axis.grid(False)
        axis.set(ylabel="单元", yticks=[])
        axis.set_title(name(kind, data), fontsize=9)
    lower[-1].set_xticks(place, tokens, rotation=90, fontsize=8)
    fig.colorbar(image, ax=lower, label="遗忘门", pad=0.01)
    return fig


def forget_gates(found: dict) -> np.ndarray:
    """The forget gates (t, H), kept as a line of whole percents for each token."""
    return np.array([line.split() for line in found["forget"]], dtype=float) / 100


def say_cell(data: dict) -> str:
    """The finding of ``draw_cell`` in one sentence."""
    parts = []
    for kind, found in data["networks"].items():
        direct = f"（只沿直接通路是{power(found['direct'][0])}）" if "direct" in found else ""
        parts.append(f"{name(kind, data)}{power(found['norms'][0])}{direct}")
    gates = [
        f"{name(kind, data)}{forget_gates(found).mean():.2f}"
        for kind, found in data["networks"].items()
        if "forget" in found
    ]
    return (
        f"一篇验证影评上的梯度与遗忘门，所用的网络与前几图相同，各训练了{data['train_steps']}步：从末尾回传到第一个词元，"
        f"共{len(data['tokens']) - 1}步，梯度范数与末步之比为{'，'.join(parts)}；"
        f"遗忘门的平均值：{'，'.join(gates)}"
    )
