"""The report's three diagrams, drawn in inches: each function returns a Matplotlib figure whose label is its alt text.

Vectors and matrices are bold as in the report: U state to state, W input to state, V state to output.
"""

from __future__ import annotations

import itertools

from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from lab.export.figures import COLORS

INK, SOFT = "#22262b", "#5a6169"
FORWARD, BACKWARD = COLORS["LSTM"], "#ad5a14"  # on white 10 : 1 and 5 : 1; in grey print dark and middle
TINT, WARM, SHADE = "#e9eff6", "#fbeee2", "#f6f7f9"
SIZE = 9.5  # points; the report shows a figure at its own width
WIDTH = 6.4


class Drawing:
    """A canvas in inches, its origin below on the left, with the few shapes that the diagrams share."""

    def __init__(self, height: float, alt: str):
        self.figure = plt.figure(figsize=(WIDTH, height), label=alt)
        self.axis = self.figure.add_axes((0, 0, 1, 1))
        self.axis.set(xlim=(0, WIDTH), ylim=(0, height))
        self.axis.axis("off")

    def text(self, x, y, words, color=INK, size=SIZE, **style):
        style = dict(ha="center", va="center", math_fontfamily="stix") | style
        self.axis.text(x, y, words, color=color, fontsize=size, **style)

    def box(self, x, y, words, width=0.54, height=0.36, face=TINT, edge=FORWARD, **style):
        """A rounded box round its centre."""
        corner = (x - width / 2, y - height / 2)
        shape = "round,pad=0,rounding_size=0.07"
        self.axis.add_patch(
            FancyBboxPatch(corner, width, height, boxstyle=shape, fc=face, ec=edge, lw=style.pop("line", 1.1), zorder=3)
        )
        self.text(x, y, words, zorder=4, **style)

    def panel(self, x, y, width, height):
        """A shaded frame behind the rest, from its corner below on the left."""
        style = dict(boxstyle="round,pad=0,rounding_size=0.12", fc=SHADE, ec="#aab1b9", lw=1.0, zorder=0)
        self.axis.add_patch(FancyBboxPatch((x, y), width, height, **style))

    def dot(self, x, y, sign, color=FORWARD):
        """A circle with an operation."""
        self.axis.add_patch(Circle((x, y), 0.125, fc="white", ec=color, lw=1.3, zorder=3))
        self.text(x, y - 0.005, sign, color, 11, zorder=4)

    def bridge(self, x, y):
        """Room round the upright line at ``x`` where it crosses a level one."""
        self.line((x, y - 0.07), (x, y + 0.07), color=SHADE, width=6, zorder=1.5, solid_capstyle="butt")

    def line(self, *points, color=INK, width=1.2, **style):
        """A line along ``points``."""
        style = dict(solid_capstyle="round", zorder=2) | style
        self.axis.plot(*zip(*points, strict=True), color=color, linewidth=width, **style)

    def arrow(self, *points, color=INK, width=1.2, **style):
        """A line along ``points`` that ends in a head."""
        if len(points) > 2:
            self.line(*points[:-1], color=color, width=width, **style)
        head = f"-|>,head_length={3.2 + width},head_width={1.4 + width / 2}"
        options = dict(arrowstyle=head, mutation_scale=1, shrinkA=0, shrinkB=0, zorder=2) | style
        self.axis.add_patch(FancyArrowPatch(*points[-2:], color=color, linewidth=width, joinstyle="miter", **options))


def unrolled():
    """The recurrent network unrolled over time: states forward, errors backward with the factor of every step."""
    draw = Drawing(
        2.8,
        "按时间展开的循环神经网络。下排自左向右是前向传播：每个状态由前一状态乘U与当前输入乘W得到，最后一个状态乘V得到输出与损失；"
        "上排自右向左是反向传播：误差项每回传一步，乘以激活函数导数的对角矩阵与U的转置。",
    )
    columns = {"k-1": 0.86, "k": 2.2, "k+1": 3.54, "t": 5.0}
    x_row, h_row, delta_row, out = 0.62, 1.36, 2.3, 6.02
    half, gap = 0.27, 0.18  # half of a box's width and height
    draw.text(
        0.02,
        0.14,
        r"前向：$\boldsymbol{h}_k=\phi(\boldsymbol{U}\boldsymbol{h}_{k-1}+\boldsymbol{W}\boldsymbol{x}_k+\boldsymbol{b})$",
        FORWARD,
        ha="left",
    )
    rule = r"反向：$\boldsymbol{\delta}_{t,k}=\mathrm{diag}(\phi\prime(\boldsymbol{z}_k))\,\boldsymbol{U}^{\top}\boldsymbol{\delta}_{t,k+1}$"
    draw.text(WIDTH - 0.02, 0.14, rule, BACKWARD, ha="right")
    for name, x in columns.items():
        draw.text(x, x_row, rf"$\boldsymbol{{x}}_{{{name}}}$", size=11)
        draw.arrow((x, x_row + 0.14), (x, h_row - gap))
        draw.text(x + 0.13, (x_row + h_row) / 2 - 0.02, r"$\boldsymbol{W}$", SOFT)
        draw.box(x, h_row, rf"$\boldsymbol{{h}}_{{{name}}}$", size=11)
        draw.line((x, h_row + gap), (x, delta_row - gap), color=SOFT, width=0.9, linestyle=(0, (1.5, 2)))
        draw.box(x, delta_row, rf"$\boldsymbol{{\delta}}_{{t,{name}}}$", face=WARM, edge=BACKWARD, size=11)
    places = [0.06 - half, *columns.values()]
    for at, (left, right) in enumerate(itertools.pairwise(places)):
        start, middle, end = left + half, (left + right) / 2, right - half
        cuts = [start, end] if at < 3 else [start, middle - 0.16, middle + 0.16, end]  # the last arrow leaves steps out
        for one, two in zip(cuts[::2], cuts[1::2], strict=True):
            draw.arrow((one, h_row), (two, h_row))
            draw.arrow((two, delta_row), (one, delta_row), color=BACKWARD, width=1.7)
        if at == 3:
            draw.text(middle, h_row, "···", size=12)
            draw.text(middle, delta_row, "···", BACKWARD, 12)
        draw.text((start + end) / 2, h_row + 0.16, r"$\boldsymbol{U}$", SOFT)
        if at:
            step = ("k-1", "k", "t-1")[at - 1]
            factor = rf"$\mathrm{{diag}}(\phi\prime(\boldsymbol{{z}}_{{{step}}}))\,\boldsymbol{{U}}^{{\top}}$"
            draw.text(middle, delta_row + 0.33, factor, BACKWARD)
    draw.arrow((columns["t"] + half, h_row), (out - half, h_row))
    draw.text((columns["t"] + out) / 2, h_row + 0.16, r"$\boldsymbol{V}$", SOFT)
    draw.box(out, h_row, r"$\boldsymbol{y}_t$", face="white", edge=INK, size=11)
    draw.arrow((out, h_row + gap), (out, delta_row - gap))
    draw.box(out, delta_row, "$L_t$", face="white", edge=INK, size=11)
    draw.arrow((out - half, delta_row), (columns["t"] + half, delta_row), color=BACKWARD, width=1.7)
    return draw.figure


def lstm_cell():
    """One step of the LSTM: gates, candidate, and the direct path along the cell state."""
    draw = Drawing(
        3.4,
        "LSTM的一步。上一状态与当前输入一起进入遗忘门、输入门、候选状态和输出门；细胞状态沿上方的直接通路先乘遗忘门，"
        "再加上输入门与候选状态之积；新的细胞状态经tanh后乘输出门，得到新的隐藏状态。",
    )
    path, top, gate, bus = 2.76, 1.95, 1.38, 0.82  # rows
    forget, enter, new, leave, out = 1.5, 2.4, 3.25, 4.15, 4.95  # columns
    draw.panel(0.86, 0.5, 4.6, 2.6)
    draw.arrow((0.44, path), (5.95, path), color=FORWARD, width=3)
    draw.text(0.34, path, r"$\boldsymbol{c}_{t-1}$", FORWARD, 12, ha="right")
    draw.text(6.02, path, r"$\boldsymbol{c}_t$", FORWARD, 12, ha="left")
    rule = r"直接通路：$\partial\boldsymbol{c}_t/\partial\boldsymbol{c}_{t-1}=\mathrm{diag}(\boldsymbol{f}_t)+\cdots$"
    draw.text(3.16, 3.27, rule, FORWARD)
    draw.text(0.34, bus, r"$\boldsymbol{h}_{t-1}$", size=12, ha="right")
    draw.text(1.12, 0.2, r"$\boldsymbol{x}_t$", size=12)
    draw.line((0.44, bus), (leave, bus))
    draw.line((1.12, 0.34), (1.12, bus))
    gates = {forget: ("遗忘门", "f"), enter: ("输入门", "i"), new: ("候选状态", r"\tilde{c}"), leave: ("输出门", "o")}
    for x, (name, letter) in gates.items():
        draw.arrow((x, bus), (x, gate - 0.16))
        draw.text(x + 0.07, bus + 0.18, name, SOFT, 8.5, ha="left")
        draw.box(x, gate, r"$\tanh$" if x == new else r"$\sigma$", height=0.32, face="white", edge=INK, size=10.5)
        sign = rf"$\boldsymbol{{{letter}}}_t$" if x != new else r"$\tilde{\boldsymbol{c}}_t$"
        draw.text(x + 0.08, gate + 0.29, sign, size=10.5, ha="left")
    draw.arrow((forget, gate + 0.16), (forget, path - 0.125))
    draw.arrow((enter, gate + 0.16), (enter, top), (new - 0.125, top))
    draw.arrow((new, gate + 0.16), (new, top - 0.125))
    draw.arrow((new, top + 0.125), (new, path - 0.125))
    draw.arrow((leave, gate + 0.16), (leave, top), (out - 0.125, top))
    draw.arrow((out, path), (out, 2.56))
    draw.box(out, 2.4, r"$\tanh$", height=0.3, face="white", edge=INK, size=10.5)
    draw.arrow((out, 2.25), (out, top + 0.125))
    draw.arrow((out, top - 0.125), (out, bus), (5.95, bus))
    draw.text(6.02, bus, r"$\boldsymbol{h}_t$", size=12, ha="left")
    for x, y, sign in ((forget, path, "×"), (new, path, "+"), (new, top, "×"), (out, top, "×")):
        draw.dot(x, y, sign, FORWARD if y == path else INK)
    return draw.figure


def classifier():
    """The classifier of one review from tokens to probability, the shapes of its tensors on the right."""
    draw = Drawing(
        4.8,
        "文本分类器，自下而上：词元经词嵌入层变为向量，进入循环层；正向从第一个词元读到最后一个，反向从最后一个读到第一个；"
        "最后一层两个方向的最终状态拼接起来，经线性层得到一个logit，再经sigmoid得到正面的概率。右侧是各步张量的形状。",
    )
    rows = dict(
        tokens=0.2, embedding=0.86, forward=1.62, backward=2.22, joined=2.98, linear=3.56, sigmoid=4.14, end=4.66
    )
    tensors = {
        rows["tokens"]: ("词元", "$(T, B)$"),
        rows["embedding"]: ("词向量", "$(T, B, E)$"),
        2.02: ("各步的状态", "$(T, B, 2H)$"),
        rows["joined"]: ("最终状态", "$(B, 2H)$"),
        rows["linear"]: ("logit", "$(B)$"),
        rows["end"]: ("正面的概率", "$(B)$"),
    }
    for y, (name, shape) in tensors.items():
        draw.text(4.84, y, name, SOFT, ha="left")
        draw.text(WIDTH - 0.02, y, shape, ha="right")
    draw.text(4.84, 1.8, "$N_L$层，层间dropout", SOFT, 8.5, ha="left")
    draw.text(0.12, 0.52, "词嵌入", SOFT, 8.5, ha="left")
    draw.text(0.12, rows["forward"], "正向", FORWARD, ha="left")
    draw.text(0.12, rows["backward"], "反向", BACKWARD, ha="left")
    draw.panel(0.02, 1.3, 4.62, 1.24)
    columns, shift, half = (
        {1: 1.1, 2: 2.15, "T": 4.05},
        0.22,
        0.19,
    )  # the directions stand left and right of their input
    for (step, x), token in zip(columns.items(), ("a", "moving", "film"), strict=True):
        draw.text(x, rows["tokens"], token)
        draw.arrow((x, rows["tokens"] + 0.13), (x, rows["embedding"] - 0.18))
        draw.box(x, rows["embedding"], rf"$\boldsymbol{{x}}_{{{step}}}$", 0.82, face="white", edge=INK, size=11)
        for row, place in (("forward", x - shift), ("backward", x + shift)):
            draw.arrow((place, rows["embedding"] + 0.18), (place, rows[row] - 0.18))
            color, face = (FORWARD, TINT) if row == "forward" else (BACKWARD, WARM)
            state = rf"$\over{'right' if row == 'forward' else 'left'}arrow{{\boldsymbol{{h}}}}_{{{step}}}$"
            draw.box(place, rows[row], state, 2 * half, face=face, edge=color, size=11)
        draw.bridge(x + shift, rows["forward"])
    stops = [columns[1], columns[2], 3.1, columns["T"]]
    draw.text(stops[2], rows["tokens"], "···")
    draw.text(stops[2], rows["embedding"], "···", size=12)
    for row, side, color in (("forward", -shift, FORWARD), ("backward", shift, BACKWARD)):
        draw.text(stops[2] + side, rows[row], "···", color, 12)
        for left, right in itertools.pairwise(stops):
            ends = (left + side + half, rows[row]), (right + side - half, rows[row])
            draw.arrow(*(ends if row == "forward" else ends[::-1]), color=color, zorder=1)
    first, last, middle, reach = columns[1] + shift, columns["T"] - shift, 2.35, 0.62
    level = rows["joined"]
    draw.arrow((first, rows["backward"] + 0.18), (first, level), (middle - reach, level), color=BACKWARD)
    draw.arrow((last, rows["forward"] + 0.18), (last, level), (middle + reach, level), color=FORWARD)
    draw.bridge(last, rows["backward"])
    joined = r"$[\overrightarrow{\boldsymbol{h}}_T;\,\overleftarrow{\boldsymbol{h}}_1]$"
    for row, words in dict(joined=joined, linear="线性层", sigmoid="sigmoid").items():
        draw.box(middle, rows[row], words, 2 * reach, face="white", edge=INK, size=11 if "$" in words else SIZE)
        draw.arrow((middle, rows[row] + 0.18), (middle, rows[row] + 0.4))
    draw.text(middle, rows["end"], r"$\hat y$", size=11)
    return draw.figure
