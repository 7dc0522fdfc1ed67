r"""Numbers and references that hold in every output.

What is numbered: figures and tables with a caption; displayed formulas with ``\label{name}``, or with an anchor
``<a id="name"></a>`` right before them (JupyterLab refuses to set a cell with ``\label`` a second time); headings where
``nb.metadata["lab"]["numbered"]`` is true. Prose refers to them as ``[图](#name)``, ``[表](#name)``, ``[式](#name)`` and
``[节](#heading)``, to works as ``[@maas2011]``: the keys of ``report/references.bib``.
"""

from __future__ import annotations

import functools
import json
import re

from lab.errors import LabError
from lab.export.nodes import attributes, elements, is_displayed, plain_text, rewrite, string
from lab.export.tools import TEMPLATES, pandoc
from lab.files import PROJECT

BIBLIOGRAPHY = PROJECT / "report" / "references.bib"
STYLE = TEMPLATES / "gb7714.csl"
KINDS = {"图": "图表", "表": "图表", "式": "公式", "节": "标题"}  # what a reference may say, and what it looks for
DEPTH = 3  # levels of numbered headings
WORKS = "参考文献"  # the heading below which they are listed
BARE = {"摘要", WORKS, "致谢"}  # headings without a number


def number(tree: dict, numbered: bool) -> None:
    """Number headings (if ``numbered``), captions and formulas; fill in the references; ``LabError`` without a target."""
    labels = number_headings(tree) if numbered else name_headings(tree)
    count = dict.fromkeys(KINDS, 0)
    for each in elements(tree, "Figure", "Table", "Div"):
        attr = attributes(each)
        kind = {"Figure": "图", "Table": "表", "Div": "式"}[each["t"]]
        if kind == "式" and "equation" in attr[1]:
            count[kind] += 1
            attr[2] = [["number", f"({count[kind]})"]]
            labels[attr[0]] = f"式({count[kind]})"
        elif kind != "式" and each["c"][1][1]:
            count[kind] += 1
            labels[attr[0]] = f"{kind}{count[kind]}"
            each["c"][1][1][0]["c"][:0] = [{"t": "Strong", "c": [string(labels[attr[0]])]}, string("\u3000")]
    for link in elements(tree, "Link"):
        label, words = link["c"][2][0], plain_text(link["c"][1])
        if words in KINDS and label.startswith("#"):
            if label[1:] not in labels:
                known = "、".join(name for name, shown in labels.items() if name and shown[0] in "图表式")
                known = f"已有的标签是{known}" if known else "笔记本里没有带标签的图表和公式"
                raise LabError(f"第{link['cell']}个单元格的引用[{words}]({label})没有对应的{KINDS[words]}：{known}。")
            link["c"][1] = [string(labels[label[1:]])]
    for cite in elements(tree, "Cite"):
        for key in (each["citationId"] for each in cite["c"][0]):
            if key not in works():
                raise LabError(
                    f"第{cite['cell']}个单元格引用的文献[@{key}]不在{BIBLIOGRAPHY.name}里：已有{'、'.join(sorted(works()))}。"
                )


def name_headings(tree: dict) -> dict[str, str]:
    """What a reference to each heading says where headings have no numbers."""
    labels = {}
    for each in elements(tree, "Header"):
        labels |= dict.fromkeys(names(each) - {""}, f"“{plain_text(each)}”一节")
    return labels


def names(heading: dict) -> set[str]:
    """The targets by which links reach a heading."""
    return {heading["c"][1][0], *heading.get("anchors", ())}


def number_headings(tree: dict) -> dict[str, str]:
    """Write 1, 1.1, … before the headings of the upper levels; return what a reference to each says."""
    labels, count = {}, [0] * DEPTH
    headings = list(elements(tree["blocks"], "Header"))
    top = min((each["c"][0] for each in headings), default=1)
    for each in headings:
        level, name = each["c"][0] - top, plain_text(each["c"][2])
        if level < DEPTH and name not in BARE:
            count[level:] = [count[level] + 1] + [0] * (DEPTH - level - 1)
            shown = ".".join(map(str, count[: level + 1]))
            each["c"][2][:0] = [string(shown), string("\u2002")]
            labels |= dict.fromkeys(names(each), f"第{shown}节")
    return labels


def part_equations(element: dict) -> list[dict]:
    """A paragraph cut at its labelled formulas, each of which gets a box of its own."""
    if element["t"] not in ("Para", "Plain"):
        return [element]
    blocks, line = [], []
    for each in element["c"]:
        label = each.get("label", "") if each["t"] == "Math" else ""
        before = next((i for i in reversed(range(len(line))) if line[i]["t"] not in ("Space", "SoftBreak")), None)
        if is_displayed(each) and before is not None:
            anchor = line[before]
            if anchor["t"] == "Span" and anchor["c"][0][0] and not anchor["c"][1]:
                label, line = anchor["c"][0][0], line[:before]
        if not label:
            line.append(each)
            continue
        blocks += [{**element, "c": line}] if line else []
        blocks.append({"t": "Div", "c": [[label, ["equation"], []], [{**element, "t": "Para", "c": [each]}]]})
        line = []
    while blocks and line and line[0]["t"] in ("Space", "SoftBreak"):
        line.pop(0)
    return blocks + ([{**element, "c": line}] if line else [])


def cite(tree: dict) -> dict:
    """Number the citations, and list the works below the heading for them, else at the end; a tree without any is kept."""
    found = list(elements(tree, "Cite"))
    if not found:
        return tree
    asked = [*({"t": "Plain", "c": [each]} for each in found), {"t": "Div", "c": [["refs", [], []], []]}]
    meta = tree["meta"] | {"link-citations": {"t": "MetaBool", "c": True}}
    options = ("--citeproc", "--bibliography", str(BIBLIOGRAPHY), "--csl", str(STYLE))
    cited = json.loads(pandoc(json.dumps(tree | dict(blocks=asked, meta=meta)), "json", "json", *options))
    *answers, listed = cited["blocks"]
    for each, answer in zip(found, answers, strict=True):
        each["c"][1] = answer["c"][0]["c"][1]
    heads = (at for at, each in enumerate(tree["blocks"], 1) if each["t"] == "Header" and plain_text(each) == WORKS)
    place = next(heads, len(tree["blocks"]))
    blocks = [*tree["blocks"][:place], listed, *tree["blocks"][place:]]
    return tree | dict(blocks=rewrite(blocks, lambda each: each["c"][1] if each["t"] == "Cite" else [each]))


@functools.cache
def works() -> frozenset[str]:
    """The keys of the bibliography."""
    return frozenset(re.findall(r"^@\w+\{([^,\s]+),", BIBLIOGRAPHY.read_text(encoding="utf-8"), re.MULTILINE))
