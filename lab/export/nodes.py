"""Walking, changing and reading pandoc's tree, whose elements are ``{"t": type, "c": content}``."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable


def elements(node, *types: str):
    """Every element of these types below ``node``, in reading order."""
    open_nodes = [node]  # not by recursion: the report's tree is walked a thousand times
    while open_nodes:
        child = open_nodes.pop()
        if isinstance(child, dict):
            if child.get("t") in types:
                yield child
            open_nodes.extend(reversed(child.values()))
        elif isinstance(child, list):
            open_nodes.extend(reversed(child))


def rewrite(node, change):
    """A copy of ``node`` with every element in a list replaced by the elements that ``change`` returns for it."""
    if isinstance(node, dict):
        return {name: value if isinstance(value, str) else rewrite(value, change) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    found = []
    for child in node:
        child = child if isinstance(child, str) else rewrite(child, change)
        found += change(child) if isinstance(child, dict) and "t" in child else [child]
    return found


def text(content: str) -> dict:
    """Plain text as a pandoc metadata value."""
    return {"t": "MetaString", "c": str(content)}


def plain_text(node, formula: Callable[[str], str] = str) -> str:
    """The characters of a pandoc tree; of a formula what ``formula`` makes of its TeX."""
    found = []
    for each in elements(node, "Str", "Code", "Math", "Space", "SoftBreak"):
        content = each.get("c", " ")
        content = content if isinstance(content, str) else content[1]
        found.append(formula(content) if each["t"] == "Math" else content)
    return "".join(found)


def table_rows(table: dict) -> list:
    """All rows of a table: head, bodies, foot."""
    _, _, _, head, bodies, foot = table["c"]
    return head[1] + [row for body in bodies for row in body[2] + body[3]] + foot[1]


def attributes(element: dict) -> list | None:
    """The ``[identifier, classes, key-value pairs]`` of an element that has them."""
    places = {
        "Header": 1,
        "Div": 0,
        "Span": 0,
        "Link": 0,
        "Image": 0,
        "Code": 0,
        "CodeBlock": 0,
        "Figure": 0,
        "Table": 0,
    }
    return element["c"][places[element["t"]]] if element["t"] in places else None


def is_displayed(element: dict) -> bool:
    """Whether an element is a formula on a line of its own."""
    return element["t"] == "Math" and element["c"][0]["t"] == "DisplayMath"


def string(content: str) -> dict:
    """Text without a blank as a pandoc element."""
    return {"t": "Str", "c": content}


def is_wide(char: str) -> bool:
    """Whether ``char`` is as wide as a 汉字."""
    return unicodedata.east_asian_width(char) in "WF"
