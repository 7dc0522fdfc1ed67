"""The two exporters and the captions they number, on a small notebook that a kernel really executes."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pypandoc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from nbclient import NotebookClient
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pypdf import PdfReader

from lab.errors import LabError
from lab.export import exporters, figures, markup, tree

FORMULAS = [
    r"$\delta_{t,k} = \prod_{\tau=k}^{t-1}\big(\mathrm{diag}(f'(z_\tau))\,U^\top\big)\,\delta_{t,t}$",
    r"$\|\partial L_t/\partial h_k\|$",
    r"$$\|\delta_{t,k}\| \le \eta^{\,t-k}\|\delta_{t,t}\|,\quad \eta = \|U\| \cdot \max|f'|,\; |\sigma'(x)| \le 1/4$$",
    "\\begin{align}\nc_t &= f_t \\odot c_{t-1} + i_t \\odot \\tilde c_t \\\\\nh_t &= o_t \\odot \\tanh(c_t)\n\\end{align}",
]
COVER = {
    "title": "循环神经网络与影评情感分类",
    "course": "实验三",
    "author": "张三_#$",
    "student_id": "S-2077",
    "date": "2025年1月2日",
    "notice": "数字来自合成影评。",
}
SETUP = "from lab.export import figures\nimport matplotlib.pyplot as plt, pandas as pd, sys\nfigures.use_style()"
FIGURE = """fig, ax = plt.subplots()
ax.plot([1, 2, 3], [-0.5, 0.3, 0.2], color=figures.COLORS["LSTM"], marker=figures.MARKERS["LSTM"])
ax.set(xlabel="训练轮数", ylabel="验证损失")
figures.show(fig, "验证损失先降后平，$L_t$不再变。", label="curves")"""
TABLE = """frame = pd.DataFrame({"RNN": [77.218, None], "LSTM": [85.57, "**86.56**"]}, index=pd.Index(["1-1", "2-1"], name="$N_L$"))
figures.table(frame, "测试准确率（%）", label="accuracy", missing="未运行")"""
WIDE = """figures.table(pd.DataFrame([[0.123] * 16], columns=[f"lstm-{i}x2-100d" for i in range(16)]), "很宽的表")"""


def code(source: str, *tags: str):
    return new_code_cell(source, metadata={"tags": list(tags)})


@pytest.fixture(scope="module")
def notebook():
    nb = new_notebook(
        cells=[
            new_markdown_cell("# 这个标题让位给封面"),
            code("SECRET_PARAMETER = 1", "parameters"),
            code(SETUP, "remove-input"),
            new_markdown_cell("## 一、实验原理\n结果见[图](#curves)和[表](#accuracy)。\n\n" + "\n\n".join(FORMULAS)),
            new_markdown_cell("```python\n# 没有合上的代码"),
            new_markdown_cell('### 小结\n\n<script>alert(1)</script><div onclick="x()">原始<b>网页</b></div>'),
            new_markdown_cell("## 二、实验结果\n\n### 小结"),
            code(FIGURE, "remove-input"),
            code(f"# 准确率的表\n{TABLE}"),
            code(WIDE, "hide-input"),
            code(
                "print('训练\\r完成 \\x1b[31m红\\x1b[0m')\nprint('进度' + '条: 100%|███| 3/3 [00:01<00:00]', file=sys.stderr)"
            ),
            code("pd.DataFrame({'次数': [12, 345]}, index=['good', 'bad'])", "remove-input"),
            code("print('不出现')", "remove-cell"),
        ],
        metadata={"lab": COVER},
    )
    NotebookClient(nb, timeout=120, kernel_name="python3").execute()
    return nb


@pytest.fixture(scope="module")
def page(notebook) -> str:
    return exporters.LabHTMLExporter().from_notebook_node(notebook)[0]


@pytest.fixture(scope="module")
def pdf(notebook) -> bytes:
    return exporters.LabPDFExporter().from_notebook_node(notebook)[0]


@pytest.fixture(scope="module")
def pdf_text(pdf) -> str:
    # Typst sets Latin letters apart from 汉字: without blanks the words can be looked for.
    return re.sub(r"\s", "", "\n".join(each.extract_text() for each in PdfReader(io.BytesIO(pdf)).pages))


class Page(HTMLParser):
    """Collects tags with attributes, and the visible text."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "annotation", "title"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if not self.open:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize(("name", "mime"), [("lab_html", "text/html"), ("lab_pdf", "application/pdf")])
def test_nbconvert_finds_the_exporters(name, mime):
    exporter = get_exporter(name)
    assert exporter.output_mimetype == mime
    assert exporter.export_from_notebook.startswith("实验报告")  # the name in JupyterLab's menu
    assert exporter().file_extension == "." + name.removeprefix("lab_")


def test_page_loads_nothing(page):
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "video"} & {tag for tag, _ in found.tags}
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    loads = [value for tag, attributes in found.tags for name, value in attributes.items() if name in ("src", "srcset")]
    assert loads
    assert all(value.startswith("data:image/") for value in loads)
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert set(re.findall(r"url\((.{10})", style)) == {"data:font/"}  # the page's own Chinese font
    assert "@import" not in style
    assert len(page.encode()) < 3_000_000


def test_page_is_a_chinese_report(page):
    found = Page(page)
    assert ("html", {"lang": "zh-CN"}) in found.tags
    assert len(found.all("math")) == len(FORMULAS) + 2  # one in a caption, one in a table's head
    assert "$" not in found.text.replace(COVER["author"], "").replace('"$N_L$"', "")  # a name, and a listing
    for words in [
        *COVER.values(),
        "图1　验证损失先降后平",
        "表1　测试准确率（%）",
        "结果见图1和表1。",
        "完成 红",
        "未运行",
        "77.22",
    ]:
        assert words in found.text
    assert "这个标题让位给封面" not in found.text
    links = [each["href"] for each in found.all("a")]
    targets = {attributes.get("id") for _, attributes in found.tags}
    assert "#一实验原理" in links
    assert {"#小结", "#小结-1", "#curves", "#accuracy"} <= set(links)
    assert {link.removeprefix("#") for link in links} <= targets
    assert len(found.all("table")) == 3
    assert "原始网页" in found.text


def test_code_is_folded_or_hidden(page):
    found = Page(page)
    assert found.all("details") == [{}, {}]  # closed
    assert "准确率的表" in found.text
    for words in ["SECRET_PARAMETER", "plt.subplots", "不出现", "进度条", "alert", "\x1b"]:
        assert words not in page


def test_pdf_reads_as_the_page(pdf, pdf_text):
    for words in [
        *COVER.values(),
        "目录",
        "一、实验原理",
        "图1验证损失先降后平",
        "表1测试准确率（%）",
        "结果见图1和表1。",
        "第1页",
    ]:
        assert words in pdf_text
    assert pdf_text.count("二、实验结果") == 2  # contents and body
    assert "没有合上的代码" in pdf_text
    assert "准确率的表" in pdf_text
    for words in ["SECRET_PARAMETER", "plt.subplots", "不出现", "进度条", "$\\", "\\odot"]:
        assert words not in pdf_text
    assert len(pdf) < 5_000_000
    assert "一、实验原理" in [each.title for each in PdfReader(io.BytesIO(pdf)).outline if not isinstance(each, list)]


def glyphs(page) -> set[int]:
    """The numbers of all glyphs that a page of two-byte fonts shows."""
    strings = []
    for operands, operator in page.get_contents().operations:
        shown = {b"TJ": operands[:1], b"Tj": [operands]}.get(operator, [])
        strings += [each.original_bytes for each in itertools.chain(*shown) if hasattr(each, "original_bytes")]
    assert strings
    return {int.from_bytes(each[i : i + 2], "big") for each in strings for i in range(0, len(each), 2)}


def test_the_empty_box_would_be_seen():
    nb = new_notebook(cells=[new_markdown_cell("没有字形：\U00013000")])
    pages = PdfReader(io.BytesIO(exporters.LabPDFExporter().from_notebook_node(nb)[0])).pages
    assert 0 in glyphs(pages[-1])


def test_pdf_has_every_glyph_and_cuts_nothing_off(pdf):
    fonts = set()
    for each in PdfReader(io.BytesIO(pdf)).pages:
        for font in each["/Resources"].get("/Font", {}).values():
            descendant = font.get_object()["/DescendantFonts"][0].get_object()
            fonts.add(descendant["/BaseFont"].split("+")[1])
            assert "/FontFile3" in descendant["/FontDescriptor"]
        assert 0 not in glyphs(each)  # the font's empty box
        spots = []
        each.extract_text(visitor_text=lambda text, cm, tm, *_, spots=spots: spots.append(tm[4] * cm[0] + cm[4]))
        assert max(spots) < float(each.mediabox.width) - 60
    assert any("NotoSerifCJKsc" in name for name in fonts)
    assert any("NotoSansCJKsc" in name for name in fonts)
    assert any("Math" in name for name in fonts)


def test_pdf_keeps_the_figure_as_vectors(pdf):
    assert not [image for each in PdfReader(io.BytesIO(pdf)).pages for image in each.images]


def test_same_notebook_same_bytes(notebook, page, pdf):
    assert exporters.LabPDFExporter().from_notebook_node(notebook)[0] == pdf
    assert exporters.LabHTMLExporter().from_notebook_node(notebook)[0] == page


def test_nbconvert_command(notebook, tmp_path):
    nbformat.write(notebook, tmp_path / "good.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell(r"$\nosuchcommand{x}$")]), tmp_path / "wrong.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "lab_pdf", "good.ipynb", "wrong.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (tmp_path / "good.pdf").read_bytes().startswith(b"%PDF"), done.stderr
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("错误：公式\\nosuchcommand{x}不能排版")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "wrong.pdf").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (r"$\frac{1}$", "公式"),
        ("![x](https://example.org/x.png)", "在网络上"),
        ("![x](nowhere.png)", "nowhere.png"),
        ("<img src='nowhere.gif'>", "nowhere.gif"),
        ("见[图](#nothing)。", "nothing"),
    ],
)
@pytest.mark.parametrize("exporter", [exporters.LabHTMLExporter, exporters.LabPDFExporter])
def test_what_cannot_be_exported_is_named(exporter, source, words, tmp_path):
    nb = new_notebook(cells=[new_markdown_cell(source)])
    with pytest.raises(LabError, match=words) as caught:
        exporter().from_notebook_node(nb, {"metadata": {"name": "x", "path": str(tmp_path)}})
    assert "\n" not in str(caught.value)


def test_without_pandoc(monkeypatch):
    monkeypatch.setenv("PYPANDOC_PANDOC", "/nowhere/pandoc")
    pypandoc.clean_pandocpath_cache()
    with pytest.raises(LabError, match="找不到pandoc"):
        exporters.LabHTMLExporter().from_notebook_node(new_notebook())
    monkeypatch.undo()
    pypandoc.clean_pandocpath_cache()


def test_typst_takes_the_symbols_of_the_field():
    # By command, since pandoc and Typst disagree on some names; the spaces because pandoc rounds them.
    commands = r"""\odot \otimes \oplus \ominus \cap \cup \bigcap \bigotimes \sqcap \in \notin \forall \exists \nabla \partial
        \infty \sum \prod \int \le \ge \ll \gg \ne \approx \sim \propto \equiv \to \mapsto \Rightarrow \iff \cdot \times
        \pm \mp \circ \ast \dagger \top \bot \ell \hbar \Re \mid \parallel \perp \langle \rangle \lfloor \rceil \ldots \cdots
        \vdots \ddots \alpha \Omega \varepsilon \varphi \emptyset \subset \subseteq \setminus \wedge \vee \neg \star
        \triangleq \uparrow \leftrightarrow \hookrightarrow \prime \arg \max \log \exp \tanh \det \, \: \; \! \quad""".split()
    more = r"""\big( \Big[ \bigg\{ \big\| \big\langle \hat{x} \tilde{x} \bar{x} \dot{x} \vec{x} \mathbb{R} \mathcal{L} \mathbf{v}
        \boldsymbol{\theta} \mathrm{diag} \operatorname{softmax} \text{正面} \sqrt{x} \sqrt[3]{x} \frac{a}{b} \binom{n}{k}
        \underbrace{x}_{n} \overline{x} \overset{a}{=} \xrightarrow{a} \lVert{x}\rVert \left|x\right|
        \begin{cases}1&x\\0&y\end{cases} \begin{bmatrix}a&b\\c&d\end{bmatrix}""".split()
    source = "\n\n".join(f"$a {command} b$" for command in commands + more)
    nb = new_notebook(cells=[new_markdown_cell(source)])
    assert exporters.LabPDFExporter().from_notebook_node(nb)[0].startswith(b"%PDF")
    assert exporters.LabHTMLExporter().from_notebook_node(nb)[0].count("<math") == len(commands + more)


def test_plain_notebook_with_pictures_of_every_kind(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.subplots()
    (tmp_path / "图 a.png").write_bytes(figures.picture(figure, "png"))
    svg = figures.picture(figure, "svg").decode()
    cell = new_markdown_cell("# 标题\n\n![说明](图%20a.png)\n\n![](attachment:b.svg)")
    cell.attachments = {"b.svg": {"image/svg+xml": base64.b64encode(svg.encode()).decode()}}
    error = new_output("error", ename="LabError", evalue="缺文件", traceback=[])
    shown = new_output("display_data", data={"image/svg+xml": svg})
    nb = new_notebook(cells=[cell, new_code_cell("1", outputs=[shown, error])])
    resources = {"metadata": {"name": "x", "path": str(tmp_path)}}
    found = Page(exporters.LabHTMLExporter().from_notebook_node(nb, resources)[0])
    kinds = [image["src"].split(";")[0] for image in found.all("img")]
    assert kinds == ["data:image/png", "data:image/svg+xml", "data:image/svg+xml"]
    assert "图1　说明" in found.text
    assert "LabError: 缺文件" in found.text
    pdf = PdfReader(io.BytesIO(exporters.LabPDFExporter().from_notebook_node(nb, resources)[0]))
    assert pdf.metadata.title == "标题"
    assert len([image for each in pdf.pages for image in each.images]) == 1


# --- figures ---------------------------------------------------------------------------------------------------------


def test_style_uses_the_wheel_font_and_colours_survive_grey_print():
    figures.use_style()
    assert font_manager.findfont(figures.FONT, fallback_to_default=False).endswith("NotoSansCJKsc-Regular.otf")
    luminance = {
        name: sum(
            weight * ((part + 0.055) / 1.055) ** 2.4
            for weight, part in zip((0.2126, 0.7152, 0.0722), to_rgb(color), strict=True)
        )
        for name, color in figures.COLORS.items()
    }
    assert (luminance["RNN"] + 0.05) / (luminance["LSTM"] + 0.05) > 3  # contrast as WCAG counts it
    for distinct in (figures.LINES, figures.MARKERS):
        assert distinct["RNN"] != distinct["LSTM"]


def test_a_figure_is_the_same_file_every_time():
    def draw(kind: str) -> bytes:
        figure = Figure()
        figure.subplots().plot([1, 2], label="损失")
        return figures.picture(figure, kind)

    figures.use_style()
    assert draw("svg") == draw("svg")
    assert draw("png") == draw("png")
    assert b"<text" not in draw("svg")


def test_a_heavy_figure_becomes_a_picture(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, **facts: shown.append((data, facts)))
    monkeypatch.setattr(figures, "SVG_LIMIT", 1000)
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    figures.show(axes, "说明", label="heavy")
    (data, facts), (_, caption) = shown
    assert data["image/png"].startswith(b"\x89PNG")
    assert facts["metadata"]["image/png"]["width"] == pytest.approx(4 * 96, rel=0.2)
    assert caption["metadata"]["lab"] == {"kind": "图", "caption": "说明", "label": "heavy"}


@pytest.mark.parametrize(("n", "pages"), [(12, 1), (90, 2)])
def test_a_long_table_goes_on_with_its_head_on_the_next_page(n, pages):
    frame = figures.pipe_table(
        pd.DataFrame({"名字": [f"row-{i}" for i in range(n)], "数值": [float(i) for i in range(n)]})
    )
    caption = {"lab": {"kind": "表", "caption": "很长的表", "label": "long"}}
    outputs = [
        new_output("display_data", data={"text/markdown": frame}),
        new_output("display_data", data={"text/markdown": "表"}, metadata=caption),
    ]
    nb = new_notebook(cells=[new_markdown_cell("# 标题"), new_code_cell("", outputs=outputs)])
    reader = PdfReader(io.BytesIO(exporters.LabPDFExporter().from_notebook_node(nb)[0]))
    lines = [line for each in reader.pages for line in each.extract_text(extraction_mode="layout").split("\n")]
    assert [line.count("row-") for line in lines if "row-" in line] == [1] * n  # none printed over another
    heads = sum("名字" in line for line in lines)
    assert heads == pages


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("汉字ab 1.-*_`$|\\<>&#[](){}!~^:@+=\"'/\n"), min_size=1), min_size=4, max_size=4)
)
@example(["1", "2", "3", "\\[\\]"])  # escaped by a backslash each, these would open a formula
def test_any_text_survives_a_table(cells):
    cells = [" ".join(cell.split()) or "x" for cell in cells]
    frame = pd.DataFrame([[figures.plain(cell) for cell in cells]], columns=list("abcd"))
    read = pypandoc.convert_text(markup.from_markdown(figures.pipe_table(frame), []), "json", format=tree.READER)
    found = next(tree.elements(json.loads(read), "Table"))
    row = found["c"][4][0][3][0][1]
    assert [tree.plain_text(cell[4]) for cell in row] == cells


def test_numbers_written_as_text_stand_at_the_right():
    columns = {"差": ["−0.63", "**+1.95**", "–"], "p": ["<0.001", "0.346", "0.755"], "配置": ["RNN 1-1", "2/27", "7"]}
    assert figures.pipe_table(pd.DataFrame(columns)).splitlines()[1] == "| --: | --: | :-- |"


def test_table_of_numbers_and_gaps():
    frame = pd.DataFrame({("RNN", "100d"): [77.218, None], ("LSTM", "100d"): [85, "未运行"]}, index=["1-1", "1-2"])
    assert figures.pipe_table(frame).splitlines() == [
        "|  | RNN 100d | LSTM 100d |",
        "| :-- | --: | --: |",
        "| 1-1 | 77.22 | 85 |",
        "| 1-2 | – | 未运行 |",
    ]
