"""The Word file: what pandoc's tree needs for it, and the document whose styles, page and footer it takes over."""

from __future__ import annotations

import html
import io

from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

from lab.export.layout import fit_tables, inline_pictures, keep_color, raw
from lab.export.nodes import plain_text, rewrite, string, text
from lab.export.tools import run_pandoc

SERIF, SANS, MONO = ("Times New Roman", "宋体"), ("Arial", "黑体"), ("Consolas", "宋体")  # of Latin and of 汉字
STYLES = {  # fonts, size in points, centred
    "Normal": (SERIF, 10.5, False),
    "Title": (SANS, 22, True),
    "Subtitle": (SANS, 12, True),
    "Author": (SERIF, 12, True),
    "Date": (SERIF, 12, True),
    "TOC Heading": (SANS, 15, False),
    "Heading 1": (SANS, 15, False),
    "Heading 2": (SANS, 13, False),
    "Heading 3": (SANS, 11.5, False),
    "Image Caption": (SERIF, 9, True),
    "Table Caption": (SERIF, 9, True),
    "Captioned Figure": (SERIF, 10.5, True),
    "Verbatim Char": (MONO, 9, False),
}
INDENTED = {"Body Text": 2, "First Paragraph": 2, "Compact": 0}  # 汉字 before the first line; Compact is that of cells
LINE_WIDTH = 40.0  # em of a table's text, across the page


def for_word(tree: dict, media: dict[str, bytes]) -> None:
    """Make the tree that pandoc writes as a Word file."""
    inline_pictures(tree, media)
    fit_tables(tree, LINE_WIDTH, always=True)
    tree["blocks"] = rewrite(tree["blocks"], word_box)
    meta = {name: plain_text(value) or value["c"] for name, value in tree["meta"].items() if "c" in value}
    if notice := meta.get("notice"):
        tree["blocks"].insert(0, {"t": "BlockQuote", "c": [{"t": "Para", "c": [string(notice)]}]})
    names = {"author": "姓名", "student_id": "学号"}
    who = "\u3000".join(f"{words} {meta[name]}" for name, words in names.items() if meta.get(name))
    tree["meta"] |= {
        name: text(value) for name, value in {"subtitle": meta.get("course"), "author": who}.items() if value
    }
    tree["meta"]["toc-title"] = text("目录")


def word_box(element: dict) -> list[dict]:
    """Numbered formulas between tab stops, coloured words on their ground."""
    if element["t"] == "Div" and element["c"][0][1] == ["equation"]:
        (label, _, pairs), formula = element["c"]
        number = [{"t": "Plain", "c": [string(pairs[0][1])]}]
        return [beside(label, formula, number)]
    if element["t"] == "Span" and (ground := keep_color(element)):
        words = html.escape(plain_text(element["c"][1]), quote=False)
        run = f'<w:rPr><w:color w:val="000000"/><w:shd w:val="clear" w:fill="{ground.lstrip("#")}"/></w:rPr>'
        return [raw("openxml", f'<w:r>{run}<w:t xml:space="preserve">{words}</w:t></w:r>', "RawInline")]
    return [element]


def beside(label: str, formula: list[dict], number: list[dict]) -> dict:
    """A formula in the middle of the line and its number at the end: a table without lines."""
    sides = {"AlignLeft": (0.08, []), "AlignCenter": (0.84, formula), "AlignRight": (0.08, number)}
    columns = [[{"t": side}, {"t": "ColWidth", "c": share}] for side, (share, _) in sides.items()]
    cells = [[["", [], []], {"t": "AlignDefault"}, 1, 1, content] for _, content in sides.values()]
    body = [["", [], []], 0, [], [[["", [], []], cells]]]
    attributes, nothing = [label, [], [["custom-style", "Equation"]]], [["", [], []], []]
    return {"t": "Table", "c": [attributes, [None, []], columns, nothing, [body], nothing]}


def reference() -> bytes:
    """pandoc's own reference document with the lab's fonts, an A4 page, and page numbers."""
    document = Document(io.BytesIO(run_pandoc("", "--print-default-data-file=reference.docx")))
    for name, (fonts, size, centred) in STYLES.items():
        style = document.styles[name]
        set_fonts(style, fonts, size)
        if name.startswith(("Heading", "TOC", "Title")):
            style.font.color.rgb = RGBColor(0x1F, 0x4E, 0x79)
        if style.type == WD_STYLE_TYPE.PARAGRAPH:
            style.font.italic = False
            if centred:
                style.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.CENTER
    for name, signs in INDENTED.items():
        form = document.styles[name].paragraph_format
        form.line_spacing, form.space_before, form.space_after = (1.3, Pt(0), Pt(4)) if signs else (1.1, Pt(1), Pt(1))
        document.styles[name].element.get_or_add_pPr().get_or_add_ind().set(qn("w:firstLineChars"), f"{signs * 100}")
        form.first_line_indent = Pt(signs * 10.5)  # the same for programs that do not count characters
    document.styles.add_style("Equation", WD_STYLE_TYPE.TABLE)
    add_rules(document.styles["Table"])
    section = document.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2.5)
    footer = section.footer.paragraphs[0]
    footer.alignment = WD_ALIGN_PARAGRAPH.CENTER
    for kind, words in (("begin", None), (None, "PAGE"), ("end", None)):
        run = footer.add_run()._r
        part = OxmlElement("w:fldChar" if kind else "w:instrText")
        if kind:
            part.set(qn("w:fldCharType"), kind)
        else:
            part.text = words
        run.append(part)
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def set_fonts(style, fonts: tuple[str, str], size: float) -> None:
    """Latin and 汉字 fonts of a style, by name: the theme's would win over them."""
    style.font.name, style.font.size = fonts[0], Pt(size)
    found = style.element.rPr.rFonts
    for name in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
        found.attrib.pop(qn(f"w:{name}"), None)
    found.set(qn("w:eastAsia"), fonts[1])


def add_rules(style) -> None:
    """A line above and below the tables of a style; pandoc's has the one below the head."""
    borders = OxmlElement("w:tblBorders")
    for side in ("top", "bottom"):
        line = OxmlElement(f"w:{side}")
        for name, value in (("val", "single"), ("sz", "12"), ("space", "0"), ("color", "000000")):
            line.set(qn(f"w:{name}"), value)
        borders.append(line)
    style.element.find(qn("w:tblPr")).append(borders)
