"""Chapters, links, signs without a glyph and lines without a blank, in both outputs."""

from __future__ import annotations

import base64
import io
import logging
import re

import pytest
import typst
from made_colors import contrast
from matplotlib import pyplot
from nbformat.v4 import new_code_cell, new_output
from PIL import Image
from reading import caption, notebook, outline, page, pdf, picture, shown, words

from lab.errors import LabError
from lab.export import figures, tools
from lab.export.exporters import LabHTMLExporter


def test_several_level_1_headings_are_chapters():
    cells = ["# 实验三", "# 一、数据\n## 来源\n文字", "# 二、模型\n### 深\n#### 更深"]
    found = page(*cells)
    assert found.find("h1").get_text() == "实验三"
    headings = [(each.name, each.get_text()) for each in found.find("main").find_all(["h1", "h2", "h3", "h4", "h5"])]
    assert headings == [("h2", "一、数据"), ("h3", "来源"), ("h2", "二、模型"), ("h4", "深"), ("h5", "更深")]
    file = pdf(*cells)
    assert file.metadata.title == "实验三"
    assert [each for each in outline(file) if each[1] != "目录"] == [
        (1, "一、数据"),
        (2, "来源"),
        (1, "二、模型"),
        (2, "深"),
        (3, "更深"),
    ]
    assert words(file).count("一、数据") == 2  # contents and body


def test_one_level_1_heading_is_the_title():
    found = page("# 实验三\n## 一、数据")
    assert [each.name for each in found.find("main").find_all(["h1", "h2", "h3"])] == ["h2"]


def test_a_title_on_the_cover_leaves_every_chapter():
    source = LabHTMLExporter().from_notebook_node(notebook("# 一、数据", "# 二、模型", lab={"title": "封面"}))[0]
    assert "<h1>封面</h1>" in source
    assert source.count("一、数据</h2>") == 1


LINKS = {
    "[甲](https://a.example).b": "甲.b",
    "[甲](https://a.example)(b)": "甲(b)",
    "[甲](https://a.example)[b]": "甲[b]",
    "[甲](https://a.example);b": "甲;b",
    "**甲**.b": "甲.b",
    "~~甲~~(b)": "甲(b)",
    "10<sup>甲</sup>(b)": "10甲(b)",
    "<kbd>甲</kbd>.b": "甲.b",
    "<span style='color:red'>甲</span>(b)": "甲(b)",
    "`甲`.b": "甲.b",
    "[甲](#nowhere)": "甲",
    "[甲]()": "甲",
    "[甲](javascript:alert(1))": "甲",
    "[甲](<https://a.example/b c>)": "甲",
    "[甲](02_model.ipynb#节)": "甲",
}


def test_text_right_behind_markup():
    cells = [f"第{i}行 {source}" for i, source in enumerate(LINKS)]
    for text in (words(page(*cells)), words(pdf(*cells))):
        for i, read in enumerate(LINKS.values()):
            assert f"第{i}行{read}" in text


def test_web_addresses_end_before_chinese():
    source = (
        "见https://a.example/x?a=1，后；(https://b.example/)。https://c.example/汉字 www.d.example。`https://e.example`"
    )
    links = [each["href"] for each in page(source).find("main").find_all("a")]
    assert links == ["https://a.example/x?a=1", "https://b.example/", "https://c.example/", "https://www.d.example"]
    file = pdf(source)
    actions = [each.get_object().get("/A", {}).get("/URI") for part in file.pages for each in part.get("/Annots", [])]
    assert [each for each in actions if each] == links


@pytest.mark.parametrize(
    ("heading", "target"),
    [
        ("## My Heading", "My-Heading"),
        ("## My Heading", "my-heading"),
        ("## 一、数据 A", "一、数据-A"),
        ("## 一、数据 A", "%E4%B8%80%E3%80%81%E6%95%B0%E6%8D%AE-A"),
        ("## `code` *x*!", "code-x!"),
        ("<a id='top'></a>", "top"),
        ("<h2 id='own'>题</h2>", "own"),
        ("<div id='a b'>盒</div>", "a b"),
    ],
)
def test_links_to_headings(heading, target):
    source = f"[去](<#{target}>)\n\n{heading}"
    found = page(source)
    link = next(each for each in found.find("main").find_all("a") if each.get_text() == "去")
    assert found.find(id=link["href"].removeprefix("#"))
    assert any("/Link" == each.get_object()["/Subtype"] for each in pdf(source).pages[-1]["/Annots"])


def test_a_dead_link_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        page("好", "[甲](#nowhere)")
    assert "第2个单元格的链接[甲](#nowhere)没有目标" in caplog.text


def test_what_typst_refuses_is_one_line_with_the_cell(monkeypatch):
    convert = tools.mend
    monkeypatch.setattr(tools, "mend", lambda source: convert(source).replace("坏处", "#nosuch"))
    with pytest.raises(LabError, match=r"^第2个单元格不能排成PDF") as caught:
        pdf("好", "这是坏处。", "好")
    assert "\n" not in str(caught.value)


# --- glyphs and long lines -------------------------------------------------------------------------------------------


def test_emoji_and_rare_signs_have_a_glyph(caplog):
    signs = "✅❌🧿😀☑①★→∑ไทยעב"
    cell = new_code_cell(f"print('{signs}')", outputs=[new_output("stream", name="stdout", text=signs)])
    with caplog.at_level(logging.WARNING):
        file = pdf(signs, cell)
        page(signs, cell)
    assert caplog.text == ""
    fonts = {
        font.get_object()["/DescendantFonts"][0].get_object()["/BaseFont"].split("+")[1]
        for each in file.pages
        for font in each["/Resources"]["/Font"].values()
    }
    assert any("Emoji" in name for name in fonts)


@pytest.mark.parametrize("export", [page, pdf])
def test_a_sign_without_a_glyph_is_named(export, caplog):
    with caplog.at_level(logging.WARNING):
        export("正常", "坏\U00013000")
    assert "\U00013000（U+13000）没有字形" in caplog.text


def test_the_page_carries_glyphs_that_a_system_may_lack():
    face = tools.font_face("<p>汉✅</p>")
    assert face.count("@font-face") == 2
    assert "U+2705" in face
    content = base64.b64decode(face.split("base64,")[1].split(")")[0])
    assert content.startswith(b"wOFF")


@pytest.mark.parametrize("unit", ["x", "长", "1,", "/a"])
def test_lines_without_a_blank_stay_on_the_page(unit, monkeypatch):
    line, pages, compile_pdf = (unit * 300)[:300], [], typst.compile

    def compile_both(*args, **options):
        drawn = compile_pdf(*args, **options, format="png", ppi=72)
        pages.extend(drawn if isinstance(drawn, list) else [drawn])  # one page comes without a list
        return compile_pdf(*args, **options)

    monkeypatch.setattr(typst, "compile", compile_both)
    table = f"| 列 | 列二 |\n|--|--|\n| {line} | 短 |"
    cell = new_code_cell(f"'{line}'", outputs=[new_output("stream", name="stdout", text=line)])
    html = shown({"text/html": f"<table><td>{line}</td></table>"})
    file = pdf(f"## 节{line}\n{line}\n\n`{line}`\n\n- **{line}**\n\n[{line}](https://a.example)", table, cell, html)
    assert words(file).count(line) >= 8
    assert len(pages) == len(file.pages)
    for each in pages:
        with Image.open(io.BytesIO(each)) as picture:
            margin = picture.convert("L").crop((picture.width - 64, 0, picture.width, picture.height))  # 68 points wide
            assert margin.getextrema() == (255, 255)


# --- what a printed page needs ---------------------------------------------------------------------------------------


def structure(file, kind: str) -> list:
    """The elements of this kind in the structure of a tagged PDF."""
    found, rest = [], [file.root_object["/StructTreeRoot"]]
    while rest:
        each = rest.pop().get_object()
        if isinstance(each, list):
            rest += [child for child in each if not isinstance(child, int)]
        elif isinstance(each, dict):
            found += [each] * (each.get("/S") == kind)
            rest += [each["/K"]] if "/K" in each and not isinstance(each["/K"], int) else []
    return found


def test_a_picture_says_what_it_shows():
    cell = shown({"image/png": picture()}, **{"image/png": {"width": 40, "alt": '一条线"<'}})
    cell.outputs.append(caption("图", "下降"))
    assert page(cell).find("img")["alt"] == '一条线"<'
    (figure,) = structure(pdf(cell), "/Figure")
    assert figure["/Alt"] == '一条线"<'


def test_a_figure_is_told_in_words():
    fig, (left, right) = pyplot.subplots(1, 2)
    left.plot([1, 2], label="RNN")
    left.set(xlabel=r"距离$t-k$（步）", ylabel=r"$\|\partial L_t/\partial\boldsymbol{h}_k\|$", title="训练前")
    right.barh(["负面", "正面"], [1, 2])
    left.legend()
    words = "分图：训练前；横轴：距离t-k（步）；纵轴：‖∂L_t/∂h_k‖；刻度：负面、正面；图例：RNN"
    assert figures.alternative(fig) == words
    pyplot.close(fig)


def test_short_tables_stay_on_one_page():
    rows = "\n".join(f"| 第{i}行 | {i} |" for i in range(10))
    file = pdf(*["文字\n\n" * 30, f"| 甲 | 乙 |\n|--|--|\n{rows}"])
    holding = {at for at, each in enumerate(file.pages) if re.search(r"第\s*\d\s*行", each.extract_text())}
    assert len(holding) == 1


def test_contents_stand_behind_the_abstract_and_its_figure():
    chapters = "\n\n".join(f"## 章{i}\n\n### 节{i}\n\n字" for i in range(30))
    cell = shown({"image/png": picture()})
    cell.outputs.append(caption("图", "说明"))
    text = words(pdf("# 题\n\n## 摘要\n\n内容", cell, chapters))
    assert text.index("内容") < text.index("图1") < text.index("目录") < text.index("章0")
    assert text.count("节29") == 2


# --- what a page needs -----------------------------------------------------------------------------------------------


def test_colours_of_the_page_can_be_read_in_both_schemes():
    style = (tools.TEMPLATES / "report.html").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", part)) for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    )
    assert light.keys() == dark.keys()
    for colors in (light, dark):
        for name in ("ink", "soft", "accent", "word", "comment", "string", "number"):
            assert contrast(colors[name], colors["paper"]) >= 4.5
            assert contrast(colors[name], colors["tint"]) >= 4.5
        assert contrast(colors["ink"], colors["notice"]) >= 4.5
        assert contrast(colors["warm"], colors["paper"]) >= 3


def test_heads_of_tables_say_what_they_head():
    heads = page("| 甲 | 乙 |\n|--|--|\n| a | 1 |").find_all("th")
    assert [each["scope"] for each in heads] == ["col", "col"]


def test_a_formula_stays_with_the_words_before_it():
    for lines in range(24, 40):  # some of these would break the page between the two
        file = pdf("\n\n".join(["字"] * lines), "于是得到\n\n$$\\frac{12345}{2}$$\n\n此后。")
        [lead] = [text for text in (each.extract_text() for each in file.pages) if "于是得到" in text]
        assert "12345" in lead, lines
