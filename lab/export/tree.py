"""Everything done to pandoc's tree, whose elements are ``{"t": type, "c": content}``: title, captions, tables, pictures."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import mimetypes
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

from lab.errors import LabError
from lab.export.tools import TEMPLATES, pandoc

PICTURES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}  # best first
PAGE_WIDTH = 46.0  # em of a table's text, across the web page
LINE_WIDTH = 50.0  # em of a table's text, across the printed page
CELL_PADDING = 1.2  # em of each column
SHORT_CELL = 11.5  # em: an accuracy with its interval, a run's name


def document(parts: list[dict], media: dict[str, bytes], cover: dict, folder: Path) -> dict:
    """Return the pandoc tree of the whole report; ``media`` gains every picture that Markdown cells refer to.

    Captions get numbers, references to them too, a picture on the web is a ``LabError``, one on the disk is read
    (paths are relative to ``folder``).
    """
    tree = json.loads(pandoc(json.dumps(parts), str(TEMPLATES / "notebook.lua"), "json"))
    tree["blocks"] = join_captions(tree["blocks"])
    take_title(tree, cover)
    for image in elements(tree, "Image"):
        image["c"][2][0] = picture_name(image["c"][2][0], media, folder)
    unique_headings(tree)
    tidy_tables(tree)
    number_captions(tree)
    tidy_spaces(tree)
    return tree


def elements(node, *types: str):
    """Every element of these types below ``node``, in reading order."""
    if isinstance(node, dict):
        if node.get("t") in types:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from elements(child, *types)


def text(content: str) -> dict:
    """Plain text as a pandoc metadata value."""
    return {"t": "MetaString", "c": str(content)}


def plain_text(node) -> str:
    """The characters of a pandoc tree."""
    found = []
    for each in elements(node, "Str", "Code", "Math", "Space", "SoftBreak"):
        content = each.get("c", " ")
        found.append(content if isinstance(content, str) else content[1])
    return "".join(found)


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
            body = [{"t": "Figure", "c": [[label, [], []], [None, content], body]}]
    return blocks + body


def take_title(tree: dict, cover: dict) -> None:
    """Move the first heading of level 1 to the metadata, where the values of ``cover`` join it."""
    tree["meta"] = {name: text(value) for name, value in cover.items() if value}
    for block in tree["blocks"]:
        if block["t"] == "Header" and block["c"][0] == 1:
            tree["meta"].setdefault("title", {"t": "MetaInlines", "c": block["c"][2]})
            tree["blocks"].remove(block)
            return


def unique_headings(tree: dict) -> None:
    """Give every heading an id of its own; cells were parsed one by one and may repeat one."""
    taken = set()
    for heading in elements(tree, "Header"):
        name = heading["c"][1][0] or "section"
        name = next(
            each for each in itertools.chain([name], (f"{name}-{i}" for i in itertools.count(1))) if each not in taken
        )
        heading["c"][1][0] = name
        taken.add(name)


def tidy_tables(tree: dict) -> None:
    """Strip pandas' ids, classes and styles from tables; put columns of numbers to the right."""
    for table in elements(tree, "Table"):
        attributes, _, columns, head, bodies, _ = table["c"]
        attributes[1], attributes[2] = [], []
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


def number_captions(tree: dict) -> None:
    """Write 图1, 图2, … and 表1, 表2, … before the captions and behind the references to them."""
    numbers, labels = {"图": 0, "表": 0}, {}
    for each in elements(tree, "Figure", "Table"):
        kind = "图" if each["t"] == "Figure" else "表"
        caption = each["c"][1][1]
        if not caption:
            continue
        numbers[kind] += 1
        name = f"{kind}{numbers[kind]}"
        caption[0]["c"][:0] = [{"t": "Strong", "c": [{"t": "Str", "c": name}]}, {"t": "Str", "c": "\u3000"}]
        labels[each["c"][0][0]] = name
    for link in elements(tree, "Link"):
        label = link["c"][2][0].removeprefix("#")
        if plain_text(link["c"][1]) in numbers and link["c"][2][0].startswith("#"):
            if label not in labels:
                raise LabError(
                    f"引用[{plain_text(link['c'][1])}](#{label})没有对应的图表：已有的标签是{'、'.join(filter(None, labels))}。"
                )
            link["c"][1] = [{"t": "Str", "c": labels[label]}]


def tidy_spaces(tree: dict) -> None:
    """Join lines that end and begin with 汉字; put a sixth of an em between 汉字 and a formula.

    Browsers and Typst put such air beside letters only; pandoc has an extension for the lines that it does not apply
    when a custom reader calls it.
    """
    for holder in elements(tree, "Para", "Plain", "Header", "Strong", "Emph"):
        line = holder["c"][2] if holder["t"] == "Header" else holder["c"]
        for one, middle, two in zip(line, line[1:], line[2:], strict=False):
            if middle["t"] == "SoftBreak" and one["t"] == two["t"] == "Str":
                if is_wide(one["c"][-1]) and is_wide(two["c"][0]):
                    middle.update(t="Str", c="")
        for one, two in itertools.pairwise(line):
            if two["t"] == "Math" and one["t"] == "Str" and unicodedata.category(one["c"][-1:] or " ") == "Lo":
                one["c"] += "\u2006"
            if one["t"] == "Math" and two["t"] == "Str" and unicodedata.category(two["c"][:1] or " ") == "Lo":
                two["c"] = "\u2006" + two["c"]


def is_wide(char: str) -> bool:
    """Whether ``char`` is as wide as a 汉字."""
    return unicodedata.east_asian_width(char) in "WF"


def picture_name(target: str, media: dict[str, bytes], folder: Path) -> str:
    """The name in ``media`` of the picture at ``target``: a name already, a ``data:`` address or a path."""
    if target in media:
        return target
    if re.match(r"https?:|//", target):
        raise LabError(f"图片{target}在网络上，报告要能离线阅读：请下载到笔记本旁边，改用相对路径。")
    try:
        if target.startswith("data:"):
            head, content = target.removeprefix("data:").split(",", 1)
            suffix = PICTURES[head.split(";")[0]]
            content = base64.b64decode(content) if head.endswith(";base64") else unquote_to_bytes(content)
        else:
            path = folder / unquote_to_bytes(target).decode()
            suffix = path.suffix.lstrip(".").lower().replace("jpeg", "jpg")
            content = path.read_bytes()
        if suffix not in PICTURES.values():
            raise ValueError(suffix)
    except (OSError, ValueError, KeyError, binascii.Error):
        raise LabError(f"图片{target[:80]}不能用：请检查路径，格式须是svg、png或jpg。") from None
    name = f"picture-{len(media) + 1}.{suffix}"
    media[name] = content
    return name


# --- HTML only -------------------------------------------------------------------------------------------------------


def inline_pictures(tree: dict, media: dict[str, bytes]) -> None:
    """Put every picture into its address; without an alternative text, its caption serves."""
    for figure in elements(tree, "Figure"):
        for image in elements(figure["c"][2], "Image"):
            image["c"][1] = image["c"][1] or [{"t": "Str", "c": plain_text(figure["c"][1])}]
    for image in elements(tree, "Image"):
        name = image["c"][2][0]
        mime = mimetypes.types_map["." + name.rsplit(".", 1)[1]]
        image["c"][2][0] = f"data:{mime};base64,{base64.b64encode(media[name]).decode()}"


def wrap_blocks(tree: dict) -> None:
    """Put every code cell into a closed ``<details>``, every table into a box that scrolls when it is too wide."""
    blocks = []
    for block in tree["blocks"]:
        start = end = None
        if block["t"] == "CodeBlock" and "cell" in block["c"][0][1]:
            start, end = "<details><summary>代码</summary>", "</details>"
        if block["t"] == "Table":
            start, end = '<div class="scroll">', "</div>"
        blocks += [raw_html(start), block, raw_html(end)] if start else [block]
    tree["blocks"] = blocks


def keep_short_cells(tree: dict) -> None:
    """Keep what is short in one line, and set a table that gets too wide for the page by it in smaller letters.

    Short is a cell of up to ``SHORT_CELL`` em, in a table's head of a third of that.
    """
    for table in elements(tree, "Table"):
        attributes, _, columns, head, bodies, _ = table["c"]
        least = [0.0] * len(columns)  # em
        for rows, limit in ((head[1], SHORT_CELL / 3), (bodies[0][3], SHORT_CELL)):
            for i, cell in ((i, cell) for row in rows for i, cell in enumerate(row[1])):
                if (wide := width(plain_text(cell[4]))) <= limit:
                    cell[0][2] = [["style", "white-space: nowrap"]]
                least[i] = max(least[i], min(wide, SHORT_CELL))
        wanted = sum(least) + CELL_PADDING * len(columns)
        if wanted > PAGE_WIDTH:
            attributes[2].append(["style", f"font-size: {max(0.7, 0.92 * PAGE_WIDTH / wanted):.2f}rem"])


def raw_html(tag: str) -> dict:
    """A piece of HTML as a pandoc element."""
    return {"t": "RawBlock", "c": ["html", tag]}


# --- PDF only --------------------------------------------------------------------------------------------------------


def fit_tables(tree: dict) -> None:
    """Give tables that are too wide for the page column widths, and smaller text where even that is not enough."""
    for table in elements(tree, "Table"):
        attributes, _, columns, head, bodies, foot = table["c"]
        rows = head[1] + [row for body in bodies for row in body[2] + body[3]] + foot[1]
        least, wanted = [0.0] * len(columns), [0.0] * len(columns)  # em
        for _, cells in rows:
            for i, (_, _, _, span, content) in enumerate(cells[: len(columns)]):
                if span == 1:
                    content = plain_text(content)
                    words = [width(word) for word in re.findall(r"[!-,.-ӿ]*-|[!-,.-ӿ]+|.", content)]
                    wanted[i] = max(wanted[i], width(content))
                    least[i] = max([least[i], min(4.0, wanted[i]), *words])
        room = LINE_WIDTH - CELL_PADDING * len(columns)
        if sum(wanted) > room:
            spare = max(0.0, room - sum(least)) / (sum(wanted) - sum(least) or 1)
            shares = [CELL_PADDING + a + spare * (b - a) for a, b in zip(least, wanted, strict=True)]
            for column, share in zip(columns, shares, strict=True):
                column[1] = {"t": "ColWidth", "c": share / sum(shares)}
            size = min(1.0, LINE_WIDTH / sum(shares))
            attributes[2].append(["typst:text:size", f"{size:.3f}em"])
            for word in elements(table, "Str"):  # Typst does not break a line between a hyphen and a digit
                word["c"] = re.sub(r"(?<=\w)-(?=\w)", "-\u200b", word["c"])


def width(content: str) -> float:
    """How wide ``content`` is set, in em: 1 for 汉字, a little over a half for the rest."""
    return sum(1.0 if is_wide(char) else 0.52 for char in content)
