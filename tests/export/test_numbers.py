"""Numbers of headings and formulas, references to them, and the works cited, in both page and print."""

from __future__ import annotations

import io
import re

import pytest
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_markdown_cell, new_notebook
from pypdf import PdfReader
from reading import page, pdf, words

from lab.errors import LabError
from lab.export import numbers

TEXT = """# 题目

## 摘要

短。

## 甲

### 乙

由[式](#second)与[节](#乙)。先引[@maas2011]，再引[@elman1990; @maas2011]。

<a id="first"></a>
$$a=1$$

中间的$$b=2$$没有编号。

$$c=3 \\label{second}$$

## 参考文献
"""


def export(kind: str, text: str = TEXT, numbered: bool = True):
    notebook = new_notebook(cells=[new_markdown_cell(text)], metadata={"lab": {"numbered": numbered}})
    return get_exporter(f"lab_{kind}")().from_notebook_node(notebook)[0]


def shown(page: str) -> str:
    return re.sub(r"<[^>]+>", "", page.split("<main>")[1])


def test_the_page():
    page = export("html")
    words = shown(page)
    assert "1\u2002甲" in words
    assert "1.1\u2002乙" in words
    assert re.search(r"<h2[^>]*>摘要", page)
    assert "由式(2)与第1.1节" in words
    assert re.findall(r'data-number="(.*?)"', page) == ["(1)", "(2)"]
    assert '<a href="#second">式(2)</a>' in page
    assert re.search(r"先引\[1\]，再引\[1,2\]|先引\[1\]，再引\[2,1\]", words)
    assert re.search(r"\[1\] MAAS A L, DALY R E, PHAM P T, et al\. Learning word vectors", words)
    assert words.index("参考文献") < words.index("[1] MAAS")


def test_the_print():
    words = "".join(page.extract_text() for page in PdfReader(io.BytesIO(export("pdf"))).pages)
    assert re.search(r"由\s*式\s*\(2\)", words)
    assert "[1] MAAS A L" in words
    assert words.count("(1)") == 1


def test_without_numbers_headings_stay():
    assert "1\u2002甲" not in shown(export("html", TEXT.replace("与[节](#乙)", ""), numbered=False))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("见[式](#nothing)。", r"第1个单元格的引用\[式\]\(#nothing\)没有对应的公式"),
        ("见[表](#nothing)。", r"第1个单元格的引用\[表\]\(#nothing\)没有对应的图表"),
        ("见[@nobody2000]。", r"第1个单元格引用的文献\[@nobody2000\]不在references\.bib里"),
    ],
)
def test_a_reference_without_target_is_refused(text, message):
    with pytest.raises(LabError, match=message):
        export("html", f"# 题\n\n{text}")


def test_every_work_is_listed_with_its_facts():
    text = "# 题\n\n" + "".join(f"[@{key}]" for key in sorted(numbers.works()))
    words = shown(export("html", re.sub(r"\]\[", "]，[", text)))
    assert len(numbers.works()) > 20
    for place in range(1, len(numbers.works()) + 1):
        assert re.search(rf"\[{place}\] [A-Z]", words)
    assert "?" not in words


@pytest.mark.parametrize("export", [page, pdf])
def test_a_section_without_a_number_is_named(export):
    assert "见“乙”一节" in words(export("# 题\n\n## 乙\n\n见[节](#乙)。"))
