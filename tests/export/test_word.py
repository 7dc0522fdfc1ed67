"""The Word file, read as Word does: formulas, fonts, captions, contents, pictures, coloured words."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from docx import Document
from docx.oxml.ns import qn
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lab.export.tools import run_pandoc
from lab.files import PROJECT

FORMULA = r"$$\boldsymbol{h}_t=\phi(\boldsymbol{U}\boldsymbol{h}_{t-1})$$"
PROSE = f'# 报告\n\n## 摘要\n\n内容\n\n## 原理\n\n见[式](#elman)、[图](#dots)与文献[@elman1990]，$x<1$。\n\n<a id="elman"></a>\n{FORMULA}'


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), "navy").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def word():
    import base64

    data = {
        "image/png": base64.b64encode(picture()).decode(),
        "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    caption = {"lab": {"kind": "图", "caption": "一个说明", "label": "dots"}}
    heads = {"lab": {"kind": "表", "caption": "一张表", "label": "numbers"}}
    outputs = [
        new_output("display_data", data, metadata={"image/png": {"width": 20}}),
        new_output("display_data", {"text/markdown": "说明"}, metadata=caption),
        new_output("display_data", {"text/markdown": "| 甲 | 乙 |\n|--|--:|\n| a | 1 |"}),
        new_output("display_data", {"text/markdown": "说明"}, metadata=heads),
        new_output("display_data", {"text/html": '<p><span style="background-color: #ffcc00">great</span> film</p>'}),
    ]
    cells = [
        new_markdown_cell(PROSE),
        new_code_cell("1", outputs=outputs),
        new_markdown_cell("## 参考文献\n\n## 附录\n\n完"),
    ]
    cover = dict(course="课程", author="张三", student_id="S1", date="2026-01-01", numbered=True)
    content, resources = get_exporter("lab_docx")().from_notebook_node(
        new_notebook(cells=cells, metadata={"lab": cover})
    )
    assert resources["output_extension"] == ".docx"
    return content


def test_nothing_in_it_tells_when_or_where_it_was_made(word):
    archive = zipfile.ZipFile(io.BytesIO(word))
    assert not [part for part in archive.namelist() if str(PROJECT).encode() in archive.read(part)]
    assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    facts = archive.read("docProps/core.xml").decode()
    assert "张三" in facts
    assert re.findall(r"\d{4}-\d\d-\d\dT", facts) == []


def test_paragraphs(word):
    document = Document(io.BytesIO(word))
    lines = {line.text: line.style.name for line in document.paragraphs}
    assert lines["报告"] == "Title"
    assert lines["姓名 张三\u3000学号 S1"] == "Author"
    assert lines["1\u2002原理"] == "Heading 1"
    assert lines["图1\u3000一个说明"] == "Image Caption"
    assert lines["表1\u3000一张表"] == "Table Caption"
    cited = next(line for line in lines if line.startswith("[1] ELMAN"))
    assert cited.endswith("Finding structure in time[J]. Cognitive Science, 1990, 14(2): 179–211.")
    order = [line.text for line in document.paragraphs if not line.style.name.startswith("toc")]
    assert order.index("参考文献") < order.index(cited) < order.index("2\u2002附录")
    prose = next(line.text for line in document.paragraphs if "见" in line.text)
    assert "式(1)" in prose
    assert "图1" in prose
    assert "[1]" in prose


def test_formulas_are_words_own_and_numbered(word):
    document = Document(io.BytesIO(word))
    equation = next(table for table in document.tables if table.style.name == "Equation")
    assert equation.cell(0, 2).text == "(1)"
    assert equation.cell(0, 1)._tc.findall(f".//{qn('m:oMath')}")
    page = zipfile.ZipFile(io.BytesIO(word)).read("word/document.xml").decode()
    assert page.count("<m:oMath>") == 2
    assert "boldsymbol" not in page


def test_contents_are_a_field_that_is_filled_already(word):
    document = Document(io.BytesIO(word))
    contents = [line for line in document.paragraphs if line.style.name.startswith("toc")]
    assert [line.text for line in contents] == ["摘要", "1\u2002原理", "参考文献", "2\u2002附录"]
    first, last = contents[0]._p.xml, contents[-1]._p.xml
    assert re.search(r"<w:instrText[^>]*> TOC ", first)
    assert first.count('"begin"') == last.count('"end"') == 1
    marks = {each.get(qn("w:name")) for each in document.element.iter(qn("w:bookmarkStart"))}
    assert all(link.get(qn("w:anchor")) in marks for line in contents for link in line._p.iter(qn("w:hyperlink")))
    order = [line.text for line in document.paragraphs]
    assert order.index("内容") < order.index("目录") < order.index("1\u2002原理", order.index("目录") + 3)


def test_captions_are_counted_by_word_and_cells_are_smaller(word):
    document = Document(io.BytesIO(word))
    captions = {line.text[:2]: line._p.xml for line in document.paragraphs if "Caption" in line.style.name}
    assert " SEQ 图 " in captions["图1"]
    assert " SEQ 表 " in captions["表1"]
    table = next(table for table in document.tables if table.style.name != "Equation")
    cells = {line.style.name for row in table.rows for cell in row.cells for line in cell.paragraphs}
    assert cells == {"Table Text", "Table Text Next"}  # the latter keeps a row with the next
    assert document.styles["Table Text"].font.size < document.styles["Normal"].font.size


def test_formulas_come_back_as_they_were_written(word, tmp_path):
    path = tmp_path / "report.docx"
    path.write_bytes(word)
    written = run_pandoc("", "--from=docx", "--to=markdown", "--wrap=none", str(path)).decode()
    assert r"$\mathbf{h}_{t} = \phi(\mathbf{U}\mathbf{h}_{t - 1})$" in written
    assert "$x < 1$" in written


def test_fonts_pictures_and_colours(word):
    with zipfile.ZipFile(io.BytesIO(word)) as file:
        page, styles = (file.read(f"word/{name}.xml").decode() for name in ("document", "styles"))
        pictures = [file.read(name) for name in file.namelist() if "media/" in name]
    assert pictures == [picture()]
    normal = re.search(r'<w:style [^>]*w:styleId="Normal".*?</w:style>', styles, re.DOTALL)[0]
    assert 'w:eastAsia="宋体"' in normal
    heading = re.search(r'<w:style [^>]*w:styleId="Heading1".*?</w:style>', styles, re.DOTALL)[0]
    assert 'w:eastAsia="黑体"' in heading
    assert "Theme=" not in re.search("<w:rFonts[^>]*>", heading)[0]
    assert re.search(r'w:fill="ffcc00"/></w:rPr><w:t xml:space="preserve">great<', page)
