"""Formulas, HTML and words in angle brackets of Markdown cells, in both outputs."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_output
from reading import page, pdf, shown, words

from lab.export import figures, markup, tree


def formulas(source: str) -> list[str]:
    """The TeX of the formulas that are cut out of ``source``, display ones with an exclamation mark."""
    kept: list = []
    markup.from_markdown(source, kept)
    return [
        element["c"][1] + "!" * (element["c"][0]["t"] == "DisplayMath") for _, element in kept if element["t"] == "Math"
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$ x $", ["x"]),
        ("见$x$，\n$y\n+z$", ["x", "y\n+z"]),
        ("$x\n\ny$", []),
        ("$$x$$ $$\ny\n$$", ["x!", "y!"]),
        (r"\\(x\\) \\[y\\]", ["x", "y!"]),
        (r"\(x\) \[y\]", []),  # Markdown's own escapes
        ("\\begin{align*}a&=b\\end{align*}", ["\\begin{align*}a&=b\\end{align*}!"]),
        ("文字\\begin{equation}\\label{eq}x\\end{equation}", ["\\begin{equation}x\\end{equation}!"]),
        ("$\\begin{matrix}1\\end{matrix}$", ["\\begin{matrix}1\\end{matrix}"]),
        ("$5 and $6", ["5 and"]),  # as in JupyterLab
        (r"\$5 and \$6", []),
        ("$5", []),
        ("$x_{\\text{$y$}}$", ["x_{\\text{$y$}}"]),  # braces balance
        (r"$\{x$", [r"\{x"]),
        ("`$a$` $b$ ``$`$c$``", ["b"]),
        ("```\n$a$\n```\n$b$\n~~~\n$c$", ["b"]),
        ("| a |\n|--|\n| $P(a|b)$ |", ["P(a|b)"]),
        ("$*a*$ $*b*$ $x_1$_", ["*a*", "*b*", "x_1"]),
        ("$a<b$", ["a<b"]),
        ("<td>$x$</td>", ["x"]),
        ("$$", []),
        ("$a$$b$", ["a", "b"]),
        ("> $$\n> x\n> $$", ["x!"]),
        ("\uf8f09\uf8f1$x$", ["x"]),  # the markers' own characters
        ("$x\\tag{1}$", [r"x\qquad\text{(1)}"]),
        ('$a"b$', ['a\\text{"}b']),
        ('$\\text{"a"}$', ['\\text{"a"}']),
    ],
)
def test_formulas_are_found_by_jupyterlabs_rule(source, expected):
    assert formulas(source) == expected


def test_formulas_are_set_in_both_outputs():
    source = r"""$ a_1 $，\\(b_2\\)与\\[c_3\\]

\begin{gather}d_4\end{gather}

| 概率 | 说明 |
|--|--|
| $P(w|h)$ | 其余 |

## 符号$e_5$

[$f_6$](https://a.example/$x$) <b>$g_7$</b> `$h$`"""
    found = page(source)
    assert len(found.find("main").find_all("math")) == 8
    assert found.find("a", href="https://a.example/$x$").find("math")
    assert [cell.get_text() for cell in found.select("td")] == ["P(w|h)", "其余"]
    text = words(pdf(source))
    for each in ["a1", "b2", "c3", "d4", "P(w|h)", "其余", "e5", "f6", "g7", "$h$"]:
        assert each in text
    assert text.count("$") == 2


HTML = {  # source: the page's selector and its text, what the PDF reads
    "10<sup>-3</sup>": ("sup", "-3", "10-3"),
    "H<sub>2</sub>O": ("sub", "2", "H2O"),
    "<b>粗</b>": ("strong", "粗", "粗"),
    "<strong>粗</strong>": ("strong", "粗", "粗"),
    "<em>斜</em><i>体</i>": ("em", "斜", "斜体"),
    "<u>线</u>": ("u", "线", "线"),
    "<ins>线</ins>": ("u", "线", "线"),
    "<s>删</s>": ("del", "删", "删"),
    "<del>删</del>": ("del", "删", "删"),
    "<kbd>Ctrl</kbd>": ("kbd", "Ctrl", "Ctrl"),
    "<code>x_1</code>": ("code", "x_1", "x_1"),
    "<mark>亮</mark>": ("mark", "亮", "亮"),
    "<MARK>亮</MARK>": ("mark", "亮", "亮"),
    "甲<br>乙": ("br", "", "甲乙"),
    "<a href='https://a.example/'>链接</a>": ("a[href='https://a.example/']", "链接", "链接"),
    "<span style='color: red; position: fixed'>红</span>": ("span[style='color:red']", "红", "红"),
    "<font color='#123456'>色</font>": ("span[style='color:#123456']", "色", "色"),
    "<p style='background: #ff0'>底</p>": ("span[style='background-color:#ff0']", "底", "底"),
    "<details><summary>标</summary>\n\n**内**\n\n</details>": ("details strong", "内", "标内"),
    "<details><summary>标</summary>内</details>": ("details > summary", "标", "标内"),
    "<div align='center'>\n\n*中*\n\n</div>": ("div[style='text-align: center'] em", "中", "中"),
    "<center>中</center>": ("div[style='text-align: center']", "中", "中"),
    "<p style='text-align:center'>中</p>": ("div[style='text-align: center']", "中", "中"),
    "<table><tr><td colspan='2'>格<sup>2</sup></td></tr></table>": ("td[colspan='2']", "格2", "格2"),
    "<h3>题</h3>": ("h3", "题", "题"),
    "<ul><li>项</ul>": ("li", "项", "项"),
    "- [x] 完": ("li", "☑ 完", "☑完"),
    "<input type='checkbox'> 勾": ("p", "☐ 勾", "☐勾"),
    "甲<!-- 注\n释 -->乙": ("p", "甲乙", "甲乙"),
    "甲<script>alert(1)</script>乙": ("p", "甲乙", "甲乙"),
    "<iframe src='https://a.example'></iframe>": ("main", "网页框架（https://a.example）", "网页框架"),
    "<video><source src='a.mp4'></video>": ("main", "视频（a.mp4）", "视频（a.mp4）"),
    "<audio controls><source src='b.mp3'></audio>后": ("main", "音频（b.mp3）不能放进报告。〕后", "音频（b.mp3）"),
    "<iframe srcdoc='<p>内</p>'></iframe>外": ("main", "网页框架不能放进报告。〕外", "报告。〕外"),
    "<span title='a > <unk>'>词</span>": ("span", "词", "词"),
    "<svg viewBox='0 0 9 9' width='9' height='9'><path d='M0 0h9v9z'/></svg>图": ("img", "", "图"),
    "<img alt='代替'>字": ("main", "代替字", "代替字"),
    "<q>引</q><small>小</small><abbr>缩</abbr>": ("main", "缩", "缩"),
}


@pytest.mark.parametrize("source", HTML)
def test_html_in_markdown_keeps_its_meaning(source):
    selector, content, _ = HTML[source]
    found = page(source)
    assert any(content in each.get_text() for each in found.select(selector)), found.find("main")
    assert not found.find(["script", "iframe", "video"])
    assert "alert" not in found.get_text()


def test_html_in_markdown_keeps_its_text_in_print():
    text = words(pdf(*HTML))
    for _, _, read in HTML.values():
        assert words_of(read) in text
    for hidden in ("注释", "alert", "position"):
        assert hidden not in text


def words_of(text: str) -> str:
    return re.sub(r"\s", "", text).replace("（", "(").replace("）", ")")


TAGS = [
    "<unk>",
    "<pad>",
    "<eos>",
    "</eos>",
    "<UNK>",
    "<s>",
    "</s>",
    "<mask>",
    "<a_b>",
    "<b and c>",
    "<output>",
    "<foo-bar>",
]


@pytest.mark.parametrize("tag", TAGS)
def test_words_in_angle_brackets_are_shown(tag):
    frame = figures.pipe_table(pd.DataFrame({f"头{tag}": [f"格{tag}", 1]}))
    caption = {"lab": {"kind": "表", "caption": f"说明{tag}。", "label": "x"}}
    cells = [
        f"# 题{tag}\n## 节{tag}\n文{tag}与`{tag}`。[链{tag}](https://a.example)\n\n{tag}\n起头\n\n- 项{tag}",
        new_code_cell("", outputs=[new_output("display_data", data={"text/markdown": frame})]),
        new_code_cell("", outputs=[new_output("display_data", data={"text/markdown": "x"}, metadata=caption)]),
        shown({"text/html": f"<p>网{tag.replace('foo-bar', 'foo')}</p>"}),
    ]
    for file in (page(*cells), pdf(*cells)):
        text = words(file)
        squeezed = tag.replace(" ", "")
        for before in ("题", "节", "文", "与", "链", "项", "头", "格", "说明"):
            assert before + squeezed in text, before
        assert squeezed + "起头" in text
        assert f"网{squeezed.replace('foo-bar', 'foo')}" in text


def test_figures_protect_such_words_for_jupyterlab_too(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, **facts: shown.append((data, facts)))
    figures.show_caption("图", "词表含<unk>与`<pad>`，10<sup>-3</sup>，$a<b$")
    data, facts = shown[0]
    assert data["text/markdown"] == "**图**　词表含`<unk>`与`<pad>`，10<sup>-3</sup>，$a<b$"
    assert facts["metadata"]["lab"]["caption"] == "词表含`<unk>`与`<pad>`，10<sup>-3</sup>，$a<b$"
    table = figures.pipe_table(pd.DataFrame({"词": ["<eos>", "$P(a|b)$", "a|b", r"\<x\>"]}))
    assert table.splitlines()[2:] == ["| `<eos>` |", "| $P(a|b)$ |", r"| a\|b |", r"| \<x\> |"]


SCRIPTS = {"script", "style", "template", "noscript", "head", "svg", "math"}
PLAYED = {"audio", "canvas", "iframe", "object", "video"}  # named instead


@pytest.mark.parametrize("export", [page, pdf])
def test_no_tag_swallows_its_neighbours(export):
    tags = sorted(markup.TAGS - SCRIPTS)
    # In one font: a page may end between two, and pypdf then reads its foot first.
    cells = [f"a{i}z <{tag}>b{i}z</{tag}> c{i}z" for i, tag in enumerate(tags)]
    for text in (words(export(*cells)), words(export(*(shown({"text/html": each}) for each in cells)))):
        for i, tag in enumerate(tags):
            found = [part for part in "abc" if f"{part}{i}z" in text]
            assert found == list("ac" if tag in PLAYED else "abc"), tag


def test_a_tag_that_breaks_out_of_its_piece(monkeypatch):
    pandoc, calls = tree.pandoc, []

    def broken(content, *args, **options):
        calls.append(content)
        return pandoc(content + "<p>多出</p>" * (len(calls) == 1), *args, **options)

    monkeypatch.setattr(tree, "pandoc", broken)
    assert words(page("# 题", "**甲** $x$", "乙").find("main")) == "甲x乙"


def test_emphasis_beside_chinese_punctuation():
    found = page("**重点**：后文，*斜体*。“**引**”与**甲**乙")
    assert [each.get_text() for each in found.find("main").find_all("strong")] == ["重点", "引", "甲"]
    assert found.find("em").get_text() == "斜体"
