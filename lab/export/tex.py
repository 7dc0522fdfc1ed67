r"""TeX that JupyterLab sets and pandoc does not read, said in commands that pandoc knows; macros that formulas share."""

from __future__ import annotations

import re

BRACED = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
COMMENT = re.compile(r"(\\(?:text\w*|mbox)\{[^{}]*\})|(?<!\\)%[^\n]*\n?")
# Without a meaning for a report's formula: sizes, struts, numbers that nothing prints.
DROPPED = """notag nonumber strut mathstrut tiny scriptsize footnotesize small normalsize large Large LARGE huge
    Huge""".split()
RENAMED = {
    "cfrac": "frac",
    "dbinom": "binom",
    "tbinom": "binom",
    "thinspace": ",",
    "thickspace": ";",
    "negthinspace": "!",
    "space": " ",
    "Bbb": "mathbb",
    "textsf": "text",
    "emph": "textit",
    "fbox": "boxed",
    "hphantom": "phantom",
    "varlimsup": "limsup",
    "varliminf": "liminf",
}
COMMAND = re.compile(rf"\\({'|'.join([*DROPPED, *RENAMED])})(?![A-Za-z]) *")
CHANGES = (
    (r"\\\\\s*\[[\d.]+ *(?:pt|em|ex|mm|cm|px|in|mu)\]", r"\\\\"),  # the height of a line
    (rf"\\vphantom\s*{BRACED}", ""),
    (rf"\\smash\s*(?:\[\w\])?\s*({BRACED})", r"\1"),
    (rf"\\textcolor\s*(\{{[^{{}}]*\}})\s*({BRACED})", r"{\\color\1\2}"),
    # of which pandoc makes the bars of a Vmatrix
    (r"\\begin\{vmatrix\}(.*?)\\end\{vmatrix\}", r"\\left|\\begin{matrix}\1\\end{matrix}\\right|"),
    (rf"\\def\s*(\\[A-Za-z]+)\s*({BRACED})", r"\\newcommand{\1}\2"),
)
SWITCH = re.compile(r"\\(rm|bf|it|cal|tt|sf|over)(?![A-Za-z])\s*")
MACRO = re.compile(
    r"\\(?:(?:re|provide)?newcommand|DeclareMathOperator)\*?\s*(?:\{\\(?P<name>[A-Za-z]+)\}|\\(?P<bare>[A-Za-z]+))"
    rf"\s*(?:\[\d\])?\s*(?:\[[^\]]*\])?\s*{BRACED}"
)


def readable(content: str) -> str:
    """A formula in commands that pandoc reads."""
    content = COMMENT.sub(lambda found: re.sub(r"(?<!\\)%", r"\\%", found[1] or ""), content)
    content = COMMAND.sub(lambda found: f"\\{RENAMED[found[1]]} " if found[1] in RENAMED else "", content)
    for pattern, change in CHANGES:
        content = re.sub(pattern, change, content, flags=re.DOTALL)
    while switch := SWITCH.search(content):  # holds for the rest of its group; a fraction for the whole of it
        start, end = group(content, switch.start())
        before, after = content[start : switch.start()], content[switch.end() : end]
        if switch[1] == "over":
            changed = rf"\frac{{{before}}}{{{after}}}"
        else:
            changed = rf"{before}\math{switch[1]}{{{after}}}"
        content = content[:start] + changed + content[end:]
    if r"\\" in re.sub(rf"\\begin\{{.*\\end\{{|{BRACED}", "", content, flags=re.DOTALL):  # lines without an environment
        content = rf"\begin{{gathered}}{content}\end{{gathered}}"
    return content


def group(content: str, place: int) -> tuple[int, int]:
    """Where the inside of the braces round ``place`` begins and ends; the whole formula where there are none."""
    opened, start, end = [], 0, len(content)
    for brace in re.finditer(r"\\.|([{}])", content, re.DOTALL):
        if brace[1] == "{":
            opened.append(brace.end())
        elif brace[1] and opened:
            inner = opened.pop()
            if inner <= place < brace.start():
                return inner, brace.start()
    return start, end


def share_macros(formulas: list[dict]) -> None:
    r"""Put the macros (``\newcommand``) of earlier formulas before those that use one, as MathJax knows them from then on."""
    known: dict[str, str] = {}
    for formula in formulas:
        content = formula["c"][1]
        used = any(re.search(rf"\\{name}(?![A-Za-z])", content) for name in known)
        if used:
            formula["c"][1] = "".join(known.values()) + content
        for macro in MACRO.finditer(content):
            known[macro["name"] or macro["bare"]] = macro[0]
