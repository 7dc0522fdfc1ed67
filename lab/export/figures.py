"""Figures and tables of the lab: one style, and captions that the report's exporters number.

In a notebook, after ``use_style()``::

    figures.show(fig, "LSTM的验证损失更早停止下降。", label="curves")
    figures.table(frame, "测试准确率（%）。", label="accuracy")

Any Markdown cell or output refers to them as ``[图](#curves)`` and ``[表](#accuracy)``; the exporters put the number
behind the character (图1, 表1), JupyterLab shows the bare character.
"""

from __future__ import annotations

import functools
import io
import re
import tempfile
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path

import pandas
import seaborn
import typst
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib import font_manager, pyplot, textpath
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from PIL import Image

FONTS = Path(find_spec("mplfonts").origin).parent / "fonts"  # Noto CJK: the fonts of the figures and of the PDF
FONT = "Noto Sans CJK SC"
# A light and a dark tone, so that grey print keeps them apart; lines and markers differ as well.
COLORS = {"RNN": "#d67425", "LSTM": "#17406b"}
LINES = {"RNN": "--", "LSTM": "-"}
MARKERS = {"RNN": "o", "LSTM": "s"}
PALETTE = [COLORS["LSTM"], COLORS["RNN"], "#3b8c6e", "#8a5a9e", "#7f7f7f"]
SVG_LIMIT = 300_000  # bytes; a figure that would be larger is shown as a PNG picture of DPI dots per inch
DPI = 200
shown: set[str] = set()  # labels of the figures and tables so far
PAD = 0.06  # inches round a figure

# Every renderer has a parser of formulas with a cache of its own, and one SVG takes three renderers: they share one.
textpath.MathTextParser = functools.cache(textpath.MathTextParser)


def use_style() -> None:
    """Set Matplotlib, seaborn and the kernel's inline figures (SVG) to the lab's fonts, colours and sizes."""
    font_manager.fontManager.addfont(FONTS / "NotoSansCJKsc-Regular.otf")
    known = font_manager.fontManager.ttflist  # the system's fonts of this name would differ from one reader to the next
    known[:] = [each for each in known if each.name != FONT or Path(each.fname).parent == FONTS]
    seaborn.set_theme(
        style="whitegrid",
        palette=PALETTE,
        font=FONT,
        rc={
            "axes.unicode_minus": False,
            "axes.edgecolor": "#888888",
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.figsize": (6.4, 3.6),  # inches: as wide as the report's text
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 11,
            "legend.fontsize": 9,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "grid.color": "#e3e3e3",
            "legend.frameon": False,
            "hatch.linewidth": 0.6,
            "savefig.bbox": "tight",
            "savefig.pad_inches": PAD,
            "svg.fonttype": "path",  # no reader needs our font
            "svg.hashsalt": "lab",  # the same figure gives the same bytes
        },
    )
    shell = get_ipython()
    if shell is not None:
        from matplotlib_inline.config import InlineBackend

        inline = InlineBackend.instance(parent=shell)
        inline.shell = shell
        inline.print_figure_kwargs = {"bbox_inches": "tight", "metadata": {"Date": None}}
        inline.figure_formats = {"svg", "png"}


def show(fig, caption: str, label: str = "", raster: bool = False) -> None:
    """Display ``fig`` (a Figure, Axes or seaborn grid) once, as SVG and PNG, with its caption below.

    JupyterLab hides an SVG in a notebook that was run elsewhere (papermill's, a student's) and shows the PNG. The SVG
    is left out where ``raster`` says so or it has more than ``SVG_LIMIT`` bytes (a scatter plot of many points).
    ``caption`` is Markdown, formulas included; ``label`` is what ``[图](#label)`` refers to. The figure's own label, where
    it has one, is its alternative text, else ``alternative``.
    """
    fig = fig if isinstance(fig, Figure) else fig.figure
    svg = b"" if raster else picture(fig, "svg")
    svg = svg if len(svg) <= SVG_LIMIT else b""
    png = small(rastered(svg) if svg else picture(fig, "png"))
    words = fig.get_label() or alternative(fig)
    width = round(int.from_bytes(png[16:20], "big") / DPI * 96)  # the file's own width, in CSS pixels
    data = {"image/png": png} | ({"image/svg+xml": svg.decode()} if svg else {})
    display(data, raw=True, metadata={"image/png": {"width": width, "alt": words}})
    pyplot.close(fig)  # otherwise the inline backend shows it a second time
    show_caption("图", caption, label)


def alternative(fig: Figure) -> str:
    """What ``fig`` shows in words, for readers who cannot see it: its axes, panels and legends."""
    legends = [*fig.legends, *(axis.get_legend() for axis in fig.axes)]
    ticks = [words for axis in fig.axes for words in (*axis.get_xticklabels(), *axis.get_yticklabels())]
    found = {
        "分图": [axis.get_title() or axis.get_title("left") for axis in fig.axes],
        "横轴": [axis.get_xlabel() for axis in fig.axes] + [fig.get_supxlabel()],
        "纵轴": [axis.get_ylabel() for axis in fig.axes] + [fig.get_supylabel()],
        "刻度": [
            words.get_text() for words in ticks if re.search(r"[^\W\d_]{2}", re.sub(r"\$.*?\$", "", words.get_text()))
        ],
        "图例": [words.get_text() for legend in legends if legend for words in legend.get_texts()],
    }
    parts = [f"{kind}：{'、'.join(dict.fromkeys(filter(None, words)))}" for kind, words in found.items() if any(words)]
    signs = {r"\\partial\s*": "∂", r"\\\|": "‖", r"\\(?:boldsymbol|mathrm|mathbf|[,;!])\s*|[${}]": "", r"\n": ""}
    return functools.reduce(lambda text, sign: re.sub(*sign, text), signs.items(), "；".join(parts))


def picture(fig: Figure, kind: str) -> bytes:
    """The bytes of ``fig``, cropped, as ``"svg"`` or ``"png"``, without a date in them."""
    buffer = io.BytesIO()
    if kind == "png":
        fig.savefig(buffer, format="png", bbox_inches="tight", dpi=DPI)
        return buffer.getvalue()
    # What savefig does for "tight", without its trial drawing, and with one renderer, which remembers the sizes of words.
    canvas = FigureCanvasSVG(fig)
    fig.set_dpi(72)  # SVG's own; for another one it would set each formula anew
    renderer = RendererSVG(*fig.bbox.size, io.StringIO())
    canvas.get_renderer = lambda: renderer
    if (layout := fig.get_layout_engine()) is not None:
        layout.execute(fig)
        fig.set_layout_engine(None)
    box = fig.get_tightbbox(renderer).padded(PAD)
    fig.savefig(buffer, format="svg", bbox_inches=box, dpi=72, metadata={"Date": None})
    return buffer.getvalue()


def rastered(svg: bytes) -> bytes:
    """A drawing as PNG, by Typst: in a fifth of the time that Matplotlib takes to draw it again."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "figure.svg").write_bytes(svg)
        page = Path(folder) / "page.typ"
        page.write_text('#set page(width: auto, height: auto, margin: 0pt)\n#image("figure.svg")')
        return typst.compile(str(page), root=folder, ignore_system_fonts=True, format="png", ppi=DPI)


def small(png: bytes) -> bytes:
    """A picture in 256 colours: a quarter of the size."""
    buffer = io.BytesIO()
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.putpalette([255 if value == 254 else value for value in few.getpalette()])  # its means are rounded down
    few.save(buffer, "PNG")
    return buffer.getvalue()


def table(frame, caption: str, label: str = "", digits: int = 2, missing: str = "–") -> None:
    """Display a pandas ``frame`` as a Markdown table with its caption.

    Floats get ``digits`` decimals, absent values become ``missing``; strings (cells, headings) are Markdown, so text
    that is not the lab's own goes through ``plain`` first. ``label`` is what ``[表](#label)`` refers to.
    """
    text = {"text/markdown": pipe_table(frame, digits, missing), "text/plain": frame.to_string()}
    display(text, raw=True)
    show_caption("表", caption, label)


def pipe_table(frame, digits: int = 2, missing: str = "–") -> str:
    """The Markdown of ``frame``: columns that are mostly numbers to the right, the index as first columns unless it only counts rows."""
    heads = [" ".join(map(str, name)) if isinstance(name, tuple) else name for name in frame]
    columns = [list(frame[name]) for name in frame]
    if not isinstance(frame.index, pandas.RangeIndex):
        heads = [name or "" for name in frame.index.names] + heads
        columns = [list(frame.index.get_level_values(i)) for i in range(frame.index.nlevels)] + columns
    sides = ["--:" if 2 * sum(map(_is_number, column)) >= len(column) > 0 else ":--" for column in columns]
    rows = [[_cell(cell, digits, missing) for cell in row] for row in [heads, *zip(*columns, strict=True)]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [rows[0], sides, *rows[1:]])


def _is_number(value) -> bool:
    """Whether ``value`` is a number, or a text that shows one: ``−0.63``, ``<0.001``, ``25,000``, ``99.2%``."""
    return isinstance(value, Real) or bool(re.fullmatch(r"[-−+<]?\d[\d.,]*%?", str(value).strip("*")))


def _cell(value, digits: int, missing: str) -> str:
    if pandas.isna(value):
        return missing
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{value:.{digits}f}"
    text = _code_tags(re.sub(r"\s*\n\s*", " ", str(value)))
    return re.sub(
        r"(?<!\\)\$[^$]*(?<!\\)\$|(\|)", lambda each: r"\|" if each[1] else each[0], text
    )  # a formula keeps its bars


def plain(text: str) -> str:
    """``text`` with every character that Markdown would take for markup escaped.

    A backslash becomes an entity: two before a bracket would open a formula in JupyterLab.
    """
    marks = r"[\\`*_{}\[\]<>()#+\-.!$~^:@&]"
    return re.sub(marks, lambda mark: "&#92;" if mark[0] == "\\" else f"\\{mark[0]}", text)


def _code_tags(source: str) -> str:
    """``markup.code_tags``, whose parsers a kernel need not load for text without a ``<``."""
    if "<" not in source:
        return source
    from lab.export.markup import code_tags

    return code_tags(source)


def absent(expected: dict[str, str]) -> None:
    """Stand in for figures and tables that the text refers to and that were not shown: ``{"forest": "图：全部配对的差异"}``."""
    missing = {label: what for label, what in expected.items() if label not in shown}
    if missing:
        display(Markdown("### 未运行的图表\n\n下列图表还没有数据，运行`uv run lab all`后即出现在正文中。"))
    for label, what in missing.items():
        display(Markdown("（未运行）"))
        kind, _, caption = what.partition("：")
        show_caption(kind, caption, label)


def show_caption(kind: str, caption: str, label: str = "") -> None:
    """Display the caption of the output before it: ``kind`` is 图 or 表, ``label`` the target of references."""
    shown.add(label)
    caption = _code_tags(caption)
    metadata = {"lab": {"kind": kind, "caption": caption, "label": label}}
    display({"text/markdown": f"**{kind}**　{caption}", "text/plain": caption}, raw=True, metadata=metadata)
