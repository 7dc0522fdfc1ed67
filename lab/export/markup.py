r"""Markdown and HTML as JupyterLab shows them, brought into clean HTML for pandoc.

Formulas are cut out by JupyterLab's own rule before Markdown is parsed, words in angle brackets that are no HTML tags
(``<unk>``) as well: ``keep`` puts each into a list and leaves a marker, ``restore`` puts pandoc elements back. Inside
code and addresses the markers turn into the source again.
"""

from __future__ import annotations

import base64
import re

from bleach.html5lib_shim import HTML_TAGS, HTML_TAGS_BLOCK_LEVEL
from bs4 import BeautifulSoup, Comment, Doctype
from bs4.element import PreformattedString
from markdown_it import MarkdownIt

from lab.export.tex import readable

# JupyterLab: packages/rendermime/src/latex.ts. A formula holds no empty line, its braces balance.
OPENING = re.compile(r"\\[{}$]|(\$\$?|\\begin\{[a-z]*\*?\}|\\\\[(\[])", re.IGNORECASE)
OPENING_HTML = re.compile(r"\\[{}$]|(\$\$?|\\begin\{[a-z]*\*?\}|\\[(\[])", re.IGNORECASE)  # MathJax reads the page
TOKEN = re.compile(r"\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\{1,2}[()\[\]]|\\[{}$]|[{}]|\n\s*\n", re.IGNORECASE)
CODE = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})[^`\n]*\n.*?(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<![\\`])(?P<ticks>`+)(?!`)[^\n]*?[^`\n](?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
TAG = re.compile(
    r"<!--.*?-->|<(?P<raw>script|style|svg|math)\b.*?</(?P=raw)\s*>"
    r"|(?<!\\)<(?P<end>/?)(?P<name>[A-Za-z][\w.-]*)"
    r"(?P<rest>(?:\s(?:=\s*(?:\"[^\"]*\"|'[^']*')|=(?!\s*[\"'])|[^<>=])*)?/?)>",
    re.DOTALL | re.IGNORECASE,
)
CITATION = re.compile(r"(?<![\\\]])\[(@[\w:.-]*\w(?:; ?@[\w:.-]*\w)*)\](?![(\[:])")
TAGS = {*HTML_TAGS, "main", "svg", "math", "center", "font", "tt", "big", "strike", "acronym", "rb", "rtc"}
# Tags that may stand without a partner; any other one is markup only with its partner or an attribute.
ALONE = {*HTML_TAGS_BLOCK_LEVEL, "br", "hr", "wbr", "tr", "td", "th", "thead", "tbody", "tfoot", "caption", "colgroup"}
ALONE |= {"option", "rt", "rp", "html", "head", "body", "center"}
# Attributes without a value: with nothing else a tag is markup, where any other word makes it text (<b and c>).
FLAGS = set(
    "allowfullscreen autoplay checked controls disabled hidden loop muted open readonly required reversed".split()
)
MARKER = re.compile("\uf8f0(\\d+)\uf8f1")
HIDDEN = ["script", "style", "template", "noscript", "head"]
MEDIA = {
    "iframe": "网页框架",
    "video": "视频",
    "audio": "音频",
    "embed": "嵌入对象",
    "object": "嵌入对象",
    "canvas": "画布",
}
# Tags whose content or neighbours pandoc's reader leaves out.
PANDOC_SKIPS = dict.fromkeys(("html", "body", "main", "title"), "div") | {"textarea": "pre"}

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PARSER.normalizeLink = PARSER.normalizeLinkText = lambda url: url  # markers stay whole
PARSER.validateLink = lambda url: True  # attached SVG pictures; ``tree`` drops scripts


def from_markdown(source: str, kept: list) -> str:
    """Return a Markdown cell, output or caption as clean HTML; ``kept`` gains its formulas and literal tags."""
    source = cut_formulas(MARKER.sub("", source).replace("\r\n", "\n"), kept)
    for works in reversed(list(CITATION.finditer(mask(source)))):
        source = source[: works.start()] + keep(kept, works[0], citation(works[1])) + source[works.end() :]
    for tag in reversed(literal_tags(source)):
        source = source[: tag.start()] + keep(kept, tag[0], literal(tag[0])) + source[tag.end() :]
    page = PARSER.render(source)
    page = re.sub(r"(<li>(?:\s*<p>)?)\[([ xX])\] ", lambda box: box[1] + "☐☑"[box[2] != " "] + " ", page)
    return clean(page)[0]


def from_html(source: str, kept: list) -> tuple[str, bool]:
    """Return an HTML output as clean HTML and whether a reader would see anything of it without scripts."""
    source = MARKER.sub("", source)
    for tag in reversed(literal_tags(source, mask=str)):
        if "-" not in tag["name"]:  # of custom elements the text is shown
            source = source[: tag.start()] + keep(kept, tag[0], literal(tag[0])) + source[tag.end() :]
    return clean(source, kept)


# --- formulas and literal tags ---------------------------------------------------------------------------------------


def mask(source: str) -> str:
    """``source`` with the characters of code spans and fences replaced by zeros, lengths and lines unchanged."""
    return CODE.sub(lambda code: re.sub(r"[^\n]", "\0", code[0]), source)


def cut_formulas(source: str, kept: list, opening: re.Pattern = OPENING) -> str:
    """Replace every formula that JupyterLab would set by a marker; each opening delimiter looks for its own end."""
    masked, parts, copied, place = mask(source), [], 0, 0
    while start := opening.search(masked, place):
        place = start.end()
        if start[1] and (end := formula_end(masked, place, start[1])):
            formula = source[start.start() : end]
            inner = formula[len(start[1]) : -len(start[1])]
            if re.search(r"^ *>[^\n]*\Z", source[: start.start()], re.MULTILINE):  # the signs of a quotation are no TeX
                inner = re.sub(r"\n[ >]*>", "\n", inner)
            contents = inner.split("$$") if start[1] == "$" else [inner]  # MathJax reads $a$$b$ as two
            if start[1].startswith("\\begin"):
                contents = [formula]
            elements = [math(content, start[1]) for content in contents]
            if all(elements):
                marks = (keep(kept, formula * (i == 0), each) for i, each in enumerate(elements))
                parts += [source[copied : start.start()], *marks]
                copied = end
            place = end
    return "".join(parts) + source[copied:]


def formula_end(source: str, place: int, opening: str) -> int | None:
    """Where the formula that ``opening`` began before ``place`` ends; None if no delimiter of its kind follows."""
    closing = opening.replace("begin", "end").replace("(", ")").replace("[", "]")
    depth, last = 0, None
    for token in TOKEN.finditer(source, place):
        if token[0] == closing:
            last = token.end()
            if not depth:
                break
        elif token[0][0] == "\n":
            break
        depth = max(0, depth + {"{": 1, "}": -1}.get(token[0], 0))
    return last


def math(content: str, opening: str) -> dict | None:
    """A formula as pandoc element; None for one without content."""
    label = re.search(r"\\label\{([^{}]*)\}", content)
    content = readable(re.sub(r"\\label\{[^{}]*\}", "", content)).strip()
    content = re.sub(
        r"\\tag(\*?)\{([^{}]*)\}", lambda tag: rf"\qquad\text{{{tag[2] if tag[1] else f'({tag[2]})'}}}", content
    )
    quotes = (
        r"(\\(?:text\w*|mbox|mathrm|operatorname\*?)\{[^{}]*\})|([\"`])"  # pandoc refuses the signs, MathJax sets them
    )
    content = re.sub(quotes, lambda sign: sign[1] or rf"\text{{{sign[2]}}}", content)
    display = opening == "$$" or opening.endswith("[") or opening.startswith("\\begin")
    kind = "DisplayMath" if display else "InlineMath"
    named = {"label": re.sub(r"[^\w.:-]+", "-", label[1])} if label and display else {}
    return {"t": "Math", "c": [{"t": kind}, content], **named} if content else None


def literal_tags(source: str, mask=mask) -> list[re.Match]:
    """The words in angle brackets outside of code that are no HTML: unknown names, phrase tags without a partner."""
    tags = [tag for tag in TAG.finditer(mask(source)) if tag["name"]]
    opened, closed = ({tag["name"].lower() for tag in tags if bool(tag["end"]) == end} for end in (False, True))
    paired = TAGS & opened & closed

    def is_markup(tag) -> bool:
        name, rest = tag["name"].lower(), tag["rest"].strip(" /\n")
        flags = FLAGS.issuperset(rest.lower().split())
        return name in ALONE or (name in TAGS and ("=" in rest or (rest and flags))) or (name in paired and not rest)

    return [tag for tag in tags if not is_markup(tag)]


def code_tags(source: str) -> str:
    """Markdown with backticks round ``<unk>`` and its like, which JupyterLab would swallow as unknown tags."""
    for tag in reversed(literal_tags(source)):
        source = f"{source[: tag.start()]}`{tag[0]}`{source[tag.end() :]}"
    return source


def citation(keys: str) -> dict:
    """``@elman1990; @werbos1990`` as pandoc's element."""
    facts = {"citationPrefix": [], "citationSuffix": [], "citationMode": {"t": "NormalCitation"}}
    works = [
        {"citationId": key.strip(" @"), "citationNoteNum": 0, "citationHash": 0, **facts} for key in keys.split(";")
    ]
    return {"t": "Cite", "c": [works, [{"t": "Str", "c": f"[{keys}]"}]]}


def literal(tag: str) -> dict:
    """``<unk>`` as code, ``a<b and c>d`` as text."""
    return {"t": "Str", "c": tag} if re.search(r"\s", tag) else {"t": "Code", "c": [["", [], []], tag]}


def keep(kept: list, source: str, element: dict) -> str:
    """Put ``element`` aside and return the marker that stands for it."""
    kept.append((source, element))
    return f"\uf8f0{len(kept) - 1}\uf8f1"


def restore(node, kept: list):
    """A copy of pandoc's tree with elements for the markers in text, their source for those in code and addresses."""
    if isinstance(node, str):
        return MARKER.sub(lambda marker: kept[int(marker[1])][0], node)
    if isinstance(node, dict):
        return {name: restore(value, kept) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    found = []
    for child in node:
        if isinstance(child, dict) and child.get("t") == "Str" and MARKER.search(child["c"]):
            for i, part in enumerate(MARKER.split(child["c"])):
                if part:
                    found.append(dict(kept[int(part)][1]) if i % 2 else {"t": "Str", "c": part})
        else:
            found.append(restore(child, kept))
    return found


# --- HTML ------------------------------------------------------------------------------------------------------------


def clean(page: str, kept: list | None = None) -> tuple[str, bool]:
    """Return ``page`` in the few tags and classes that ``tree`` knows, and whether anything of it can be seen.

    Scripts, styles, comments and what is hidden go; what no file can play is named. With ``kept`` formulas in the text
    are cut out, as MathJax finds them in a page.
    """
    soup = BeautifulSoup(
        re.sub(r"<svg\b.*?</svg\s*>", svg_picture, page, flags=re.DOTALL | re.IGNORECASE), "html.parser"
    )
    for note in soup.find_all(string=lambda each: isinstance(each, PreformattedString)):
        if isinstance(note, Comment | Doctype):
            note.extract()
        else:
            note.replace_with(note.output_ready())
    for tag in soup.find_all(HIDDEN):
        tag.decompose()
    for tag in soup.find_all(lambda tag: tag.has_attr("hidden") or "display:none" in style(tag)):
        tag.decompose()
    for tag in soup.find_all(list(MEDIA)):
        address = tag.get("src") or tag.get("data") or ""
        if not address and (source := tag.find("source", src=True)):
            address = source["src"]
        address = f"（{address}）" if address and not address.startswith("data:") else ""
        tag.replace_with(f"〔此处的{MEDIA[tag.name]}{address}不能放进报告。〕")
    for image in soup.find_all("img", src=False):
        image.replace_with(image.get("alt", ""))
    for box in soup.find_all("input"):
        ticked = "☐☑"[box.has_attr("checked")] if box.get("type") == "checkbox" else box.get("value", "")
        box.replace_with(ticked if box.get("type") != "hidden" else "")
    for tag in soup.find_all(True):
        simplify(tag, soup)
    if kept is not None:
        for words in soup.find_all(string=lambda each: "$" in each or "\\" in each):
            if not words.find_parent(["pre", "code", "math", "textarea"]):
                words.replace_with(cut_formulas(str(words), kept, OPENING_HTML))
    return str(soup), bool(soup.get_text(strip=True) or soup.find(["img", "math", "hr"]))


def simplify(tag, soup: BeautifulSoup) -> None:
    """Put what a tag means for the look of its content into a class or a style that pandoc's reader keeps."""
    if tag.name in ("details", "summary", "center"):
        tag["class"], tag.name = tag.name, "div"
    elif tag.name not in ("table", "td", "th", "tr", "img") and (
        tag.get("align") == "center" or "text-align:center" in style(tag)
    ):
        tag.wrap(soup.new_tag("div", attrs={"class": "center"}))
    if tag.name in ("tr", "td", "th") and not tag.find_parent("table"):
        tag.name = "div"
    tag.name = PANDOC_SKIPS.get(tag.name, tag.name)
    if tag.name == "font" and tag.get("color"):
        tag.name, tag["style"] = "span", f"color:{tag['color']}"
    if tag.name == "img" and (wide := re.search(r"(?:^|;)width:([^;]+)", style(tag))):
        tag["width"] = wide[1]
    if tag.name not in ("span", "table", "tr", "img") and re.search(r"(?:^|;)(?:color|background)", style(tag)):
        if not tag.find(HTML_TAGS_BLOCK_LEVEL):
            span = soup.new_tag("span", style=tag["style"])
            span.extend(list(tag.contents))
            tag.append(span)


def style(tag) -> str:
    """A tag's style without blanks."""
    return re.sub(r"\s", "", tag.get("style", "") if tag.attrs else "").lower()


def svg_picture(found: re.Match) -> str:
    """An SVG drawing inside a page as a picture of its own, with the namespaces that a page need not name."""
    drawing = found[0]
    for name, address in (("xmlns", "http://www.w3.org/2000/svg"), ("xmlns:xlink", "http://www.w3.org/1999/xlink")):
        if f"{name}=" not in drawing:
            drawing = re.sub("^<svg", f'<svg {name}="{address}"', drawing, count=1, flags=re.IGNORECASE)
    return f'<img src="data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}">'
