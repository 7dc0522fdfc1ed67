"""What pandoc's tree needs for one output only: boxes and pictures of the page, widths and Typst's markup of the PDF."""

from __future__ import annotations

import base64
import json
import re

from PIL import ImageColor

from lab.export.nodes import elements, is_displayed, is_wide, plain_text, rewrite, table_rows
from lab.export.pictures import PICTURES

PAGE_WIDTH = 46.0  # em of a table's text, across the web page
LINE_WIDTH = 50.0  # em of a table's text, across the printed page
CELL_PADDING = 1.2  # em of each column
SHORT_CELL = 11.5  # em: an accuracy with its interval, a run's name
SHORT_HEAD = 6.5  # em: stays in one line
SMALLEST = 0.89  # of a printed table's letters: 8 points
LONGEST_WORD = 40  # characters; a longer one may be broken anywhere
PLAIN = ("Str", "Space", "SoftBreak", "LineBreak", "Math")  # no Typst function


def shown(node) -> str:
    """The characters of a pandoc tree as they are set: of a formula's commands the fonts are left out, symbols count one."""
    fonts = r"\\(?:boldsymbol|math\w+|text\w*|operatorname|[,;!])|[{}^_$ ]"
    return plain_text(node, lambda formula: re.sub(r"\\[A-Za-z]+", "x", re.sub(fonts, "", formula)))


def width(content: str) -> float:
    """How wide ``content`` is set, in em: 1 for 汉字, 0.7 for capitals, a little over a half for the rest."""
    return sum(1.0 if is_wide(char) else 0.7 if char.isupper() else 0.52 for char in content)


def raw(form: str, markup: str, kind: str = "RawBlock") -> dict:
    """A piece of HTML or Typst as a pandoc element."""
    return {"t": kind, "c": [form, markup]}


# --- HTML only -------------------------------------------------------------------------------------------------------


def for_page(tree: dict, media: dict[str, bytes]) -> None:
    """Make the tree that pandoc writes as HTML."""
    wrap_blocks(tree)
    keep_short_cells(tree)
    inline_pictures(tree, media)
    tree["blocks"] = rewrite(tree["blocks"], page_box)


def page_box(element: dict) -> list[dict]:
    """The boxes of HTML that pandoc's tree knows as ``Div`` only."""
    name = next(iter(element["c"][0][1]), None) if element["t"] == "Div" else None
    if name == "center":
        element["c"][0] = [element["c"][0][0], [], [["style", "text-align: center"]]]
    if name in ("details", "summary"):
        return [raw("html", f"<{name}>"), *element["c"][1], raw("html", f"</{name}>")]
    return [element]


def inline_pictures(tree: dict, media: dict[str, bytes]) -> None:
    """Put every picture into its address."""
    mimes = {suffix: mime for mime, suffix in PICTURES.items()}
    for image in elements(tree, "Image"):
        name = image["c"][2][0]
        content = base64.b64encode(media[name]).decode()
        image["c"][2][0] = f"data:{mimes[name.rsplit('.', 1)[1]]};base64,{content}"


def wrap_blocks(tree: dict) -> None:
    """Put every code cell into a closed ``<details>``, every table into a box that scrolls when it is too wide."""
    blocks = []
    for block in tree["blocks"]:
        start = end = None
        if block["t"] == "CodeBlock" and "code" in block["c"][0][1]:
            start, end = "<details><summary>代码</summary>", "</details>"
        if block["t"] == "Table":
            start, end = '<div class="scroll">', "</div>"
        blocks += [raw("html", start), block, raw("html", end)] if start else [block]
    tree["blocks"] = blocks


def keep_short_cells(tree: dict) -> None:
    """Keep what is short in one line, let long words break, and set a table that is too wide in smaller letters.

    Short is a cell of up to ``SHORT_CELL`` em, in a table's head of a third of that.
    """
    for table in elements(tree, "Table"):
        attributes, _, columns, head, bodies, _ = table["c"]
        least = [0.0] * len(columns)  # em
        for rows, limit in ((head[1], SHORT_CELL / 3), ([row for body in bodies for row in body[3]], SHORT_CELL)):
            for i, cell in ((i, cell) for row in rows for i, cell in enumerate(row[1][: len(columns)])):
                content = shown(cell[4])
                if (wide := width(content)) <= limit:
                    cell[0][2] = [["style", "white-space: nowrap"]]
                elif re.search(rf"[^\s]{{{LONGEST_WORD},}}", content):
                    cell[0][2] = [["style", f"min-width: {SHORT_CELL}em; word-break: normal; overflow-wrap: anywhere"]]
                least[i] = max(least[i], min(wide, SHORT_CELL))
        wanted = sum(least) + CELL_PADDING * len(columns)
        if wanted > PAGE_WIDTH:
            attributes[2].append(["style", f"font-size: {max(0.7, 0.92 * PAGE_WIDTH / wanted):.2f}rem"])


# --- PDF only --------------------------------------------------------------------------------------------------------


def for_print(tree: dict) -> None:
    """Make the tree that pandoc writes as Typst."""
    fit_tables(tree)
    print_pictures(tree)
    contents_behind_abstract(tree)
    tree["blocks"] = with_formulas(tree["blocks"])
    for part in ("meta", "blocks"):
        tree[part] = separated(rewrite(rewrite(tree[part], print_box), breakable))
    blocks, cell = [], None
    for block in tree["blocks"]:
        if block.get("cell", cell) != cell:  # for ``tools.typeset``, which looks for the cell of an error
            cell = block["cell"]
            blocks.append(raw("typst", f"// cell {cell}"))
        blocks.append(block)
    tree["blocks"] = blocks


def with_formulas(blocks: list[dict]) -> list[dict]:
    """Keep on one page, with no picture between them, a displayed formula and the words that lead to it."""
    pieces = [piece for block in blocks for piece in (before_formulas(block) if block["t"] == "Para" else [block])]
    kept = []
    for at, piece in enumerate(pieces, 1):
        leads = piece["t"] == "Para" and at < len(pieces) and starts_with_formula(pieces[at])
        kept += [raw("typst", "#leading["), piece, raw("typst", "]")] if leads else [piece]
    return kept


def before_formulas(paragraph: dict) -> list[dict]:
    """A paragraph cut before each displayed formula in it."""
    lines = [[]]
    for each in paragraph["c"]:
        if is_displayed(each) and lines[-1]:
            lines.append([])
        lines[-1].append(each)
    return [{**paragraph, "c": line} for line in lines]


def starts_with_formula(block: dict) -> bool:
    if block["t"] == "Div":
        return block["c"][0][1] == ["equation"]
    return block["t"] == "Para" and bool(block["c"]) and is_displayed(block["c"][0])


def contents_behind_abstract(tree: dict) -> None:
    """Where the first heading is 摘要, keep its figures with it and put the contents before the second."""
    if place := abstract_place(tree):
        first, second = place
        abstract = [raw("typst", "#abstract["), *tree["blocks"][first:second], raw("typst", "]\n#contents")]
        tree["blocks"][first:second] = abstract
        tree["meta"]["abstract"] = {"t": "MetaBool", "c": True}


def abstract_place(tree: dict) -> tuple[int, int] | None:
    """Where the abstract begins and where the heading behind it stands; None where the first heading is not 摘要."""
    headings = [at for at, block in enumerate(tree["blocks"]) if block["t"] == "Header"]
    if len(headings) > 1 and plain_text(tree["blocks"][headings[0]]) == "摘要":
        return headings[0], headings[1]
    return None


def print_pictures(tree: dict) -> None:
    """Write the pictures of figures with their alternative text, which pandoc leaves out there."""
    for figure in elements(tree, "Figure"):
        for image in elements(figure["c"][2], "Image"):
            words = json.dumps(plain_text(image["c"][1]), ensure_ascii=False)
            options = [json.dumps(image["c"][2][0]), f"alt: {words}"]
            for side, size in image["c"][0][2]:
                if number := re.fullmatch(r"([\d.]+)(px|%|em|cm|mm|in|pt)?", size):
                    value, unit = float(number[1]), number[2] or "px"
                    options.append(
                        f"{side}: {value * 0.75 if unit == 'px' else value:g}{'pt' if unit == 'px' else unit}"
                    )
            image.update(t="RawInline", c=["typst", f"#image({', '.join(options)})"])


def print_box(element: dict) -> list[dict]:
    """The boxes and colours of HTML in Typst's markup."""
    if element["t"] not in ("Div", "Span"):
        return [element]
    (name, classes, pairs), content = element["c"]
    kind = "RawBlock" if element["t"] == "Div" else "RawInline"
    start = end = ""
    if classes == ["summary"]:
        return [
            {"t": "Para", "c": [{"t": "Strong", "c": block["c"]}]} if block["t"] in ("Plain", "Para") else block
            for block in content
        ]
    if classes == ["center"]:
        start, end = "#align(center)[", "]"
    if classes == ["equation"]:
        start, end = f"#numbered[{pairs[0][1]}][", "]"
        pairs = []
    if "kbd" in classes:
        start, end = "#kbd[", "]"
    for name_of_color, function in (("color", "text"), ("background-color", "highlight")):
        if color := color_of(pairs, name_of_color):
            start, end = f'{start}#{function}(fill: rgb("{color}"))[', end + "]"
    inner = [{**element, "c": [[name, [each for each in classes if each == "mark"], []], content]}]
    if not name and "mark" not in classes:
        inner = content
    return [raw("typst", start, kind), *inner, raw("typst", end, kind)] if start else inner


def color_of(pairs: list, name: str) -> str | None:
    """A colour (``color`` or ``background-color``) among an element's attributes as hex digits; None where there is none.

    ``tree.attribute`` has left nothing but colours in a style.
    """
    style = next((value for key, value in pairs if key == "style"), "")
    colors = dict(pair.split(":") for pair in style.split("; ") if pair)
    try:
        return "#" + "".join(f"{part:02x}" for part in ImageColor.getrgb(colors.get(name, "").strip()))
    except ValueError:
        return None


def breakable(element: dict) -> list[dict]:
    """Let Typst break long words, and code without a blank, after every character."""
    if element["t"] in ("Str", "Code", "CodeBlock"):
        holder, place = (element, "c") if element["t"] == "Str" else (element["c"], 1)
        words = rf"[^\s\u200b\u2e80-\uffff]{{{LONGEST_WORD},}}"
        holder[place] = re.sub(words, lambda word: "\u200b".join(word[0]), holder[place])
    return [element]


def separated(node):
    """A copy of the tree with an empty comment between markup and the text right behind it.

    pandoc writes ``#link(…)[x]`` directly before ``.b``, which Typst takes for a field of the link, ``(`` for a call.
    """
    if isinstance(node, dict):
        return {name: separated(value) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    found = []
    for child in node:
        before = found[-1].get("t") if found and isinstance(found[-1], dict) else None
        if isinstance(child, dict) and child.get("t") == "Str" and before not in (None, *PLAIN):
            found.append(raw("typst", "/**/", "RawInline"))
        found.append(separated(child))
    return found


def column_widths(table: dict) -> tuple[list[float], list[float]]:
    """The least and the wanted width of a table's columns, in em of its text."""
    columns = table["c"][2]
    least, wanted = [0.0] * len(columns), [0.0] * len(columns)
    heads = len(table["c"][3][1])
    for row, (_, cells) in enumerate(table_rows(table)):
        for i, (_, _, _, span, content) in enumerate(cells[: len(columns)]):
            if span == 1:
                content = shown(content)
                whole = row < heads and width(content) <= SHORT_HEAD
                words = [content] if whole else re.findall(r"[!-,.-ӿ]*-|[!-,.-ӿ]+|.", content)
                wanted[i] = max(wanted[i], width(content))
                least[i] = max([least[i], min(4.0, wanted[i]), *(width(word[:LONGEST_WORD]) for word in words)])
    return least, wanted


def fit_tables(tree: dict, line: float = LINE_WIDTH, always: bool = False) -> None:
    """Give tables wider than ``line`` em (or ``always``) column widths, and smaller text where that is not enough."""
    for table in elements(tree, "Table"):
        attributes, columns = table["c"][0], table["c"][2]
        least, wanted = column_widths(table)
        room = line - CELL_PADDING * len(columns)
        if sum(wanted) > room or always:
            spare = min(1.0, max(0.0, room - sum(least)) / (sum(wanted) - sum(least) or 1))
            shares = [CELL_PADDING + a + spare * (b - a) for a, b in zip(least, wanted, strict=True)]
            for column, share in zip(columns, shares, strict=True):
                column[1] = {"t": "ColWidth", "c": share / max(line, sum(shares))}
            if (size := line / sum(shares)) < 1:
                attributes[2].append(["typst:text:size", f"{max(size, SMALLEST):.3f}em"])
            for word in elements(table, "Str"):  # Typst does not break a line between a hyphen and a digit
                word["c"] = re.sub(r"(?<=\w)-(?=\w)", "-\u200b", word["c"])
