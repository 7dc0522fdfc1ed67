"""Recombined notebooks: each is written by both exporters without losing a word, or refused in one line with its cell.

``LAB_MUTANTS`` sets how many are tried.
"""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_output
from reading import outline, page, pdf, picture, squeeze, words

from lab.errors import LabError

N = int(os.environ.get("LAB_MUTANTS", "25"))
# {} is a word that must be read in both files. Blocks end with an empty line, as a row of a table would lose what
# follows it on its line in JupyterLab too.
INLINE = [
    "{}",
    "汉字{}，",
    "**{}**",
    "**{}：**",
    "*{}*",
    "~~{}~~",
    "`{}`",
    "``<{}>``",
    "[{}](https://a.example)",
    "[{}](#My-Heading)",
    "[**{}**](https://a.example/汉字)",
    "https://a.example/{}",
    "www.example.org/{}，",
    "<https://a.example/{}>",
    r"$\text{{{}}}$",
    r"$ x_{{i}} + \text{{{}}} $",
    r"$$\text{{{}}}$$",
    r"\\(\text{{{}}}\\)",
    r"\\[\text{{{}}}\\]",
    r"$P(a|b)\,\mathrm{{{}}}$",
    r"$\|{}\| < 1$",
    "\\begin{{align}}\na &= \\text{{{}}} \\\\\nb &= 1\n\\end{{align}}",
    "$5 {} ",
    r"\$5 {} ",
    "<sup>{}</sup>",
    "<sub>{}</sub>",
    "<b>{}</b>",
    "<u>{}</u>",
    "<s>{}</s>",
    "<kbd>{}</kbd>",
    "<mark>{}</mark>",
    "<code>{}</code>",
    '<span style="color:red">{}</span>',
    '<span style="background: #ffee00; color: rgb(1,2,3)">{}</span>',
    '<font color="green">{}</font>',
    '<a href="https://a.example/?a=1&b=2">{}</a>',
    "<unk>{}",
    "<{}>",
    "</{}>",
    "<s>{}",
    "{}</s>",
    "<!-- 注释 -->{}",
    "a<b {} c>d",
    "a < {} > b",
    "1<{}",
    "&lt;{}&gt; &amp; ",
    "{}✅",
    "#{}",
    "@{}",
    "_{}_",
    "{}_a_b",
    "\\*{}\\*",
    "'{}' \"{}\"",
    "~{}~",
    "//{}",
    "/*{}*/",
    "{}  \n",
    "({})",
    ".{}",
    ";{}",
    "[{}]",
    "= {}",
    "- {}",
    "1. {}",
    "+ {}",
    "{}" + "长" * 60,
    "{}" + "x" * 300,
    "<br>{}",
    "<custom-tag>{}</custom-tag>",
    "[@elman1990]{}",
    "{}[@maas2011; @elman1990]，",
    '<a id="named"></a>\n$$\\text{{{}}}$$',
    r"$$\text{{{}}} \label{{named}}$$",
]
BLOCKS = [
    "# {}",
    "## {}",
    "### {} $x^2$",
    "#### `{}`",
    "{}\n===",
    "> {}",
    "> - {}\n> - {}",
    "- {}\n  1. {}\n     {}",
    "- [x] {}",
    "| {} | $P(a|b)$ |\n|:--|--:|\n| {} | <unk> {} |",
    "```python\nx = '$' # {}\n```",
    "~~~\n<b>{}</b>\n~~~",
    "    {} $x$",
    "---",
    "{}\n\n* * *",
    "<div align=center>\n\n**{}**\n\n</div>",
    "<div>{}</div>",
    "<center>{}</center>",
    "<p align='center'>{}</p>",
    "<details><summary>{}</summary>\n\n{}\n\n</details>",
    "<details open>\n<summary>{}</summary>\n{}\n</details>",
    "<table><tr><th>{}</th></tr><tr><td>{}<br>{}</td></tr></table>",
    "<table>\n<tr><td colspan=2>{}</td></tr>\n\n<tr><td>{}</td><td>{}</td></tr>\n</table>",
    "<ul><li>{}</li><li>{}</ul>",
    "<h2 id='x'>{}</h2>",
    "<h1>{}</h1>",
    "<pre>{}\n  {}</pre>",
    "<p>{}<p>{}",
    "<div>{}",
    "</div>{}",
    "<blockquote>{}</blockquote>",
    "<video src='x.mp4'></video>{}",
    "<svg width='10' height='10'><rect width='5' height='5'/></svg>{}",
    f"![](data:image/png;base64,{picture()}) {{}}",
    f'<img src="data:image/png;base64,{picture()}" width="50%">{{}}',
    "```\n{}",
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>'
OUTPUTS = [  # data of an output, with what must be read
    ({"text/plain": "{}"}, "{}"),
    ({"text/plain": "[<{}>]\n\x1b[31m{}\x1b[0m \x07"}, "{}"),
    ({"text/html": "<b>{}</b>", "text/plain": "<IPython.core.display.HTML object>"}, "{}"),
    ({"text/html": "<table><thead><tr><th>{}</th></tr></thead><tbody><tr><td>$y$</td></tr></tbody></table>"}, "{}"),
    ({"text/html": "<style>p {{}}</style><p>{} < 5 <unk> <中文></p><script>x</script>"}, "{}"),
    ({"text/html": "<script>draw()</script><div></div>", "text/plain": "x"}, "网页脚本"),
    ({"text/html": "<iframe src='https://a.example'></iframe>"}, "网页框架"),
    ({"text/markdown": "## {}\n\n**{}**"}, "{}"),
    ({"text/latex": r"$\displaystyle \text{{{}}}$", "text/plain": "x"}, "{}"),
    ({"text/latex": "\\begin{{equation}}\n\\text{{{}}}\n\\end{{equation}}"}, "{}"),
    ({"image/svg+xml": SVG, "text/plain": "<Figure>"}, "图片"),
    ({"image/png": picture(), "text/plain": "<Figure>"}, "图片"),
    ({"image/jpeg": picture("jpeg")}, "图片"),
    ({"image/gif": picture("gif")}, "图片"),
    ({"image/webp": picture("webp")}, "图片"),
    ({"application/json": {"a": ["{}"]}, "text/plain": "<IPython.core.display.JSON object>"}, "{}"),
    ({"application/javascript": "x", "text/plain": "<IPython.core.display.Javascript object>"}, "JavaScript"),
    ({"application/pdf": "eA==", "text/plain": "x"}, "PDF文件"),
    ({"application/geo+json": {"type": "Point"}, "text/plain": "x"}, "GeoJSON"),
    ({"application/vnd.vegalite.v5+json": {}, "text/plain": "x"}, "Vega图"),
    ({"application/vnd.plotly.v1+json": {}, "text/html": "<script>x</script>"}, "Plotly图"),
    ({"application/vnd.plotly.v1+json": {}, "image/png": picture()}, "图片"),
    ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider({})"}, "{}"),
    ({"application/vnd.jupyter.widget-view+json": {}, "image/png": picture()}, "图片"),
    ({"application/vnd.jupyter.widget-view+json": {}}, "交互控件"),
    ({"application/x-strange": "x"}, "x-strange"),
    ("stdout", "{}"),
    ("stderr", "{}"),
    ("error", "{}"),
]


class Writer:
    """Fills words into templates and remembers what must be found."""

    def __init__(self):
        self.n, self.found, self.pictures = 0, [], 0

    def word(self) -> str:
        self.n += 1
        self.found.append(f"k{self.n}z")
        return self.found[-1]

    def fill(self, template: str) -> str:
        words = [self.word() for _ in range(template.replace("{{", "").count("{}"))]
        return template.format(*words)

    def output(self, data, expected: str):
        if isinstance(data, str):
            text = self.fill("输出{}：<unk> $x$\n")
            if data == "error":
                return new_output("error", ename="ValueError", evalue=text, traceback=[])
            return new_output("stream", name=data, text=text)
        if expected == "图片":
            self.pictures += 1
        elif expected != "{}":
            self.found.append(expected)
        data = {mime: self.deep(value) for mime, value in data.items()}
        return new_output("display_data", data=data)

    def deep(self, value):
        if isinstance(value, str):
            return self.fill(value) if "{}" in value else value
        return {key: [self.deep(each) for each in part] for key, part in value.items() if part != "Point"}


@st.composite
def notebooks(draw):
    writer, cells = Writer(), []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 3)) == 0:
            outputs = draw(st.lists(st.sampled_from(OUTPUTS), min_size=1, max_size=4))
            cells.append(new_code_cell("x = 1", outputs=[writer.output(*each) for each in outputs]))
            continue
        source = ""
        for _ in range(draw(st.integers(1, 5))):
            if draw(st.integers(0, 2)) == 0:
                source += "\n\n" + writer.fill(draw(st.sampled_from(BLOCKS))) + "\n\n"
            else:
                gap = draw(st.sampled_from(["", "", " ", "\n", "，", "。", ".b", "(b)", "[b]", ";", "\n\n"]))
                piece = draw(st.sampled_from(INLINE))
                between = (
                    " " if source.endswith("]") and piece.startswith("(") else ""
                )  # else a link, whose target is hidden
                source += between + writer.fill(piece) + gap
        cells.append(source)
    return cells, writer.found, writer.pictures


def flaws(cells, expected: list[str], pictures: int) -> list[str]:
    """What is wrong with the two files of a notebook."""
    found, headings, refused = [], [], []
    for export in (page, pdf):
        try:
            file = export(*cells)
        except LabError as error:
            event(f"{export.__name__}: refused")
            refused.append(str(error))
            if not re.fullmatch(r".*第\d+个单元格.*", str(error)):
                found.append(f"{export.__name__}: {error}")
            continue
        event(f"{export.__name__}: written")
        text = words(file)
        found += [f"{export.__name__}: {word}" for word in expected if squeeze(word) not in text]
        if export is page:
            if len(file.find_all("img")) < pictures:
                found.append("page: pictures")
            headings = [words(each) for each in file.find("main").find_all(re.compile("^h[1-6]$"))]
        else:
            titles = [title for _, title in outline(file)]
            found += [f"pdf: heading {each}" for each in headings if each.isalnum() and each not in titles]
    if len(refused) == 1:
        found.append(f"one exporter refuses what the other writes: {refused[0]}")
    return found


@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(notebooks())
def test_recombined_notebooks_lose_nothing(drawn):
    assert flaws(*drawn) == []


def test_a_refusal_names_the_cell():
    for export in (page, pdf):
        with pytest.raises(LabError, match="第2个单元格"):
            export("好", r"$\nosuch{x}$")
