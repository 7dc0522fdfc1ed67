"""The report as pandoc's tree: what all outputs share of title, links and captions.

Links, pictures, formulas and top-level blocks carry the number of their cell under ``"cell"``, for messages; pandoc
ignores it.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from lab.export.markup import restore
from lab.export.nodes import attributes, elements, is_wide, plain_text, rewrite, string, text
from lab.export.numbers import number, part_equations
from lab.export.pictures import picture_name
from lab.export.tools import pandoc

READER = "html-auto_identifiers"
CLASSES = {"Span": {"kbd", "mark"}, "Div": {"center", "details", "summary"}}
WEB = re.compile(r"(?:https?://|www\.)[!#-;=?-~]*[\w/#=&%+~-]", re.ASCII)


def document(parts: list[dict], kept: list, media: dict[str, bytes], cover: dict, folder: Path) -> tuple[dict, list]:
    """Return the pandoc tree of the whole report and warnings; ``media`` gains every picture that cells refer to.

    Captions get numbers, references to them too, a picture on the web is a ``LabError``, one on the disk is read
    (paths are relative to ``folder``).
    """
    numbered = cover.pop("numbered", False)
    tree = json.loads(pandoc("\n".join(map(page_piece, parts)), READER, "json"))
    if len(tree["blocks"]) != len(parts):  # a tag broke out of its box: one by one
        alone = (page_piece({**part, "label": ""}) for part in parts)
        tree["blocks"] = [
            {"t": "Div", "c": [[part["label"], [part["kind"]], []], json.loads(pandoc(box, READER, "json"))["blocks"]]}
            for part, box in zip(parts, alone, strict=True)
        ]
    tree["blocks"] = restore(tree["blocks"], kept)
    for div, part in zip(tree["blocks"], parts, strict=True):
        for each in elements(div, "Link", "Image", "Math", "Cite"):
            each["cell"] = part["cell"]
        div["c"][1] = rewrite(div["c"][1], plainer)
        for block in div["c"][1]:
            block["cell"] = part["cell"]
        for image in elements(div, "Image"):
            image["c"][2][0] = picture_name(image["c"][2][0], media, folder, image["cell"])
    tree["blocks"] = join_captions(tree["blocks"])
    tree["blocks"] = rewrite(rewrite(tree["blocks"], part_equations), link_addresses)
    take_title(tree, cover)
    name_headings(tree)
    tidy_tables(tree)
    number(tree, numbered)
    warnings = resolve_links(tree)
    tidy_spaces(tree)
    name_pictures(tree)
    return tree, warnings


def page_piece(part: dict) -> str:
    """A piece of the notebook as one HTML element."""
    content = part["text"]
    if part["format"] != "html":
        content = f'<pre class="{part["format"]} {part["kind"]}"><code>{html.escape(content)}</code></pre>'
    return f'<div id="{html.escape(part["label"])}" class="{part["kind"]}">{content}</div>'


def plainer(element: dict) -> list[dict]:
    """An element with the few attributes that a report keeps; boxes without any are opened."""
    kind = element["t"]
    if attr := attributes(element):
        attr[0] = re.sub(r"[^\w.:-]+", "-", attr[0])
        known = CLASSES.get(kind, set(attr[1]) if kind == "CodeBlock" else set())
        attr[1] = [name for name in attr[1] if name in known]
        attr[2] = [pair for name, value in attr[2] if (pair := attribute(kind, name, value))]
        if kind in CLASSES and not any(attr):
            return element["c"][1]
        if attr[0] and kind in ("Link", "Image", "Code", "CodeBlock"):  # Typst's labels stand on boxes
            box = {"t": "Div" if kind == "CodeBlock" else "Span", "c": [[attr[0], [], []], [element]]}
            attr[0] = ""
            return [box]
    if kind == "Para" and [each["t"] for each in element["c"]] == ["Image"] and element["c"][0]["c"][1]:
        image = element["c"][0]
        caption = [{"t": "Plain", "c": image["c"][1]}]
        return [{**element, "t": "Figure", "c": [["", [], []], [None, caption], [{"t": "Plain", "c": [image]}]]}]
    return [element]


def attribute(kind: str, name: str, value: str) -> list | None:
    """An attribute's name and value as far as a report keeps it: sizes of pictures, colours of words."""
    if kind == "Image" and name in ("width", "height") and re.fullmatch(r"[\d.]+(px|%|em|cm|mm|in|pt)?", value.strip()):
        return [name, value.strip()]
    if kind == "Span" and name == "title":
        return [name, value]
    if kind == "Span" and name == "style":
        pairs = re.findall(r"(?:^|;)\s*(color|background)(?:-color)?\s*:\s*([#\w(),.% ]+)", value)
        return (
            ["style", "; ".join(f"{name}-color:{word}".replace("color-color", "color") for name, word in pairs)]
            if pairs
            else None
        )
    return None


def join_captions(divs: list) -> list:
    """Return the blocks of all pieces; a piece and the caption behind it become a figure, or a table with caption."""
    blocks, body = [], []  # body: the piece that a caption may still claim
    for div in divs:
        (label, [kind], _), content = div["c"]
        if kind not in ("图", "表"):
            blocks, body = blocks + body, content
            continue
        tables = list(elements(body, "Table"))
        if kind == "表" and tables:
            tables[0]["c"][0][0], tables[0]["c"][1] = label, [None, content]
        else:
            cell = content[0].get("cell") if content else None
            body = [{"t": "Figure", "cell": cell, "c": [[label, [], []], [None, content], body]}]
    return blocks + body


def take_title(tree: dict, cover: dict) -> None:
    """Move the first heading of level 1 to the metadata, where the values of ``cover`` join it.

    Where more headings have level 1 they are chapters, and all headings move down one level; then a title on the cover
    leaves even the first one in the text.
    """
    tree["meta"] = {name: text(value) for name, value in cover.items() if value}
    tops = [block for block in elements(tree["blocks"], "Header") if block["c"][0] == 1 and plain_text(block)]
    if tops and (len(tops) == 1 or "title" not in tree["meta"]) and tops[0] in tree["blocks"]:
        title = tops.pop(0)
        tree["meta"].setdefault("title", {"t": "MetaInlines", "c": title["c"][2]})
        tree["blocks"] = [block for block in tree["blocks"] if block is not title]
    if tops:
        for heading in elements(tree["blocks"], "Header"):
            heading["c"][0] = min(6, heading["c"][0] + 1)


def name_headings(tree: dict) -> None:
    """Give headings GitHub's identifiers, under which ``resolve_links`` finds them by JupyterLab's as well.

    Every identifier stands once: cells were written one by one and may repeat one.
    """
    taken = set()
    for each in elements(tree["blocks"], "Header", "Figure", "Table", "Div", "Span"):
        attr = attributes(each)
        if each["t"] == "Header":
            each["anchors"] = {plain_text(each["c"][2]).replace(" ", "-"), attr[0]}
            attr[0] = attr[0] or re.sub(r"[^\w -]", "", plain_text(each["c"][2])).lower().replace(" ", "-") or "section"
        elif attr[0] in taken:
            attr[0] = ""
        names = itertools.chain([attr[0]], (f"{attr[0]}-{i}" for i in itertools.count(1)))
        attr[0] = next(name for name in names if name not in taken) if attr[0] else ""
        taken.add(attr[0])


def link_addresses(element: dict) -> list[dict]:
    """Make links of the web addresses in a text, which end before a 汉字 or full-width sign."""
    if element["t"] == "Link":  # its text was rewritten before it
        element["c"][1] = rewrite(element["c"][1], lambda each: each["c"][1] if each["t"] == "Link" else [each])
    if element["t"] != "Str" or not WEB.search(element["c"]):
        return [element]
    found, place = [], 0
    for match in WEB.finditer(element["c"]):
        address = match[0] if "://" in match[0] else f"https://{match[0]}"
        found += [string(element["c"][place : match.start()])] if match.start() > place else []
        found.append({"t": "Link", "c": [["", [], []], [string(match[0])], [address, ""]]})
        place = match.end()
    return found + ([string(element["c"][place:])] if place < len(element["c"]) else [])


def resolve_links(tree: dict) -> list[str]:
    """Point links at identifiers that exist; where there is none, or no address at all, their text stays.

    Returns a warning for each of those.
    """
    anchors, warnings = {}, []
    for each in elements(tree["blocks"], "Header", "Figure", "Table", "Div", "Span"):
        for name in {attributes(each)[0], *each.pop("anchors", ())} - {""}:
            anchors.setdefault(name, attributes(each)[0])

    def resolved(element: dict) -> list[dict]:
        if element["t"] != "Link":
            return [element]
        target = element["c"][2][0].strip()
        if target.startswith("#"):
            name = next((name for name in (target[1:], unquote(target[1:])) if name in anchors), None)
            name = anchors.get(name) or anchors.get(re.sub(r"[^\w.:-]+", "-", unquote(target[1:])))
            target = f"#{name}" if name else ""
        if not target or re.match(r"(?i)\s*(javascript|vbscript|data):", target):
            cell = f"第{element['cell']}个单元格的" if "cell" in element else ""
            warnings.append(
                f"{cell}链接[{plain_text(element['c'][1])}]({element['c'][2][0][:80]})没有目标，只保留文字。"
            )
            return element["c"][1]
        element["c"][2][0] = target
        return [element]

    tree["blocks"] = rewrite(tree["blocks"], resolved)
    return warnings


def tidy_tables(tree: dict) -> None:
    """Strip pandas' ids, classes and styles from tables; put columns of numbers to the right."""
    for table in elements(tree, "Table"):
        _, _, columns, head, bodies, _ = table["c"]
        body = [row for part in bodies for row in part[3]]
        for row in head[1] + body:
            row[0] = ["", [], []]
            for cell in row[1]:
                cell[0], cell[1] = ["", [], []], {"t": "AlignDefault"}
        for i, column in enumerate(columns):
            if column[0]["t"] == "AlignDefault":
                cells = [plain_text(row[1][i][4]) for row in body if i < len(row[1])]
                numbers = [re.fullmatch(r"[-−+]?[\d.,]+%?|NaN|", cell) for cell in cells]
                column[0] = {"t": "AlignRight" if all(numbers) else "AlignLeft"}


def tidy_spaces(tree: dict) -> None:
    """Join lines that end and begin with 汉字; put a sixth of an em between 汉字 and a formula.

    Browsers and Typst put such air beside letters only; pandoc has an extension for the lines that it does not apply
    to HTML.
    """
    for holder in elements(tree, "Para", "Plain", "Header", "Strong", "Emph"):
        line = holder["c"][2] if holder["t"] == "Header" else holder["c"]
        for one, middle, two in zip(line, line[1:], line[2:], strict=False):
            if middle["t"] == "SoftBreak" and one["t"] == two["t"] == "Str":
                if is_wide(one["c"][-1:] or " ") and is_wide(two["c"][:1] or " "):
                    middle.update(t="Str", c="")
        for one, two in itertools.pairwise(line):
            if two["t"] == "Math" and one["t"] == "Str" and unicodedata.category(one["c"][-1:] or " ") == "Lo":
                one["c"] += "\u2006"
            if one["t"] == "Math" and two["t"] == "Str" and unicodedata.category(two["c"][:1] or " ") == "Lo":
                two["c"] = "\u2006" + two["c"]


def name_pictures(tree: dict) -> None:
    """Where a figure's picture has no alternative text, its caption serves."""
    nameless = [
        each for each in elements(tree, "Figure") if not all(i["c"][1] for i in elements(each["c"][2], "Image"))
    ]
    captions = spoken([figure["c"][1][1] for figure in nameless], tree["pandoc-api-version"])
    for figure, words in zip(nameless, captions, strict=True):
        for image in elements(figure["c"][2], "Image"):
            image["c"][1] = image["c"][1] or [string(words)]


def spoken(captions: list[list], version: list[int]) -> list[str]:
    """Captions in words, their formulas in signs rather than TeX."""
    if not captions:
        return []
    lines = [
        {"t": "Para", "c": [string(f"{at}:"), *(each for block in caption for each in block["c"])]}
        for at, caption in enumerate(captions)
    ]
    shown = pandoc(json.dumps({"pandoc-api-version": version, "meta": {}, "blocks": lines}), "json", "plain")
    return [re.sub(r"^\d+:|[\u2006_*]", "", line) for line in shown.strip().split("\n\n")]
