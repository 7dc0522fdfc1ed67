"""The Word file: what pandoc's tree needs for it, and the document whose styles, page and footer it takes over."""

from __future__ import annotations

import html
import io
import re
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

from lab.export.layout import abstract_place, color_of, fit_tables, inline_pictures, raw
from lab.export.nodes import elements, plain_text, rewrite, string, table_rows, text
from lab.export.pictures import PICTURES, check_picture
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
    "Bibliography": (SERIF, 9.5, False),
    "Table Text": (SERIF, 9, False),
    "toc 1": (SERIF, 10.5, False),
    "toc 2": (SERIF, 10.5, False),
}
INDENTED = {"Body Text": 2, "First Paragraph": 2, "Compact": 0, "Table Text": 0}  # 汉字 before the first line
KEPT = 18  # rows: a table of no more stays on one page
LINE_WIDTH = 44.0  # em of a table's text, across the page
CONTENTS = r'TOC \o "1-2" \h \z \u'  # Word's instruction: headings of two levels, with links


def for_word(tree: dict, media: dict[str, bytes]) -> None:
    """Make the tree that pandoc writes as a Word file."""
    for image in elements(tree, "Image"):
        image["c"][2][0] = pixels(image["c"][2][0], media, image["cell"])
    inline_pictures(tree, media)
    fit_tables(tree, LINE_WIDTH, always=True)
    for each in elements(tree, "Figure", "Table"):
        if each["t"] == "Table":
            set_cells(each)
        count_caption(each)
    tree["blocks"] = rewrite(tree["blocks"], word_box)
    add_contents(tree)
    meta = {name: plain_text(value) or value["c"] for name, value in tree["meta"].items() if "c" in value}
    if notice := meta.get("notice"):
        tree["blocks"].insert(0, {"t": "BlockQuote", "c": [{"t": "Para", "c": [string(notice)]}]})
    names = {"author": "姓名", "student_id": "学号"}
    who = "\u3000".join(f"{words} {meta[name]}" for name, words in names.items() if meta.get(name))
    tree["meta"] |= {
        name: text(value) for name, value in {"subtitle": meta.get("course"), "author": who}.items() if value
    }


def pixels(name: str, media: dict[str, bytes], cell: int) -> str:
    """The same picture in pixels where there is one: older versions of Word show no SVG."""
    stem, _, suffix = name.rpartition(".")
    others = [f"{stem}.{other}" for other in PICTURES.values() if suffix == "svg" != other]
    for found in others:
        if found in media:
            check_picture(found, media[found], cell)  # the tree's own pictures have been
            return found
    return name


def styled(name: str, content: list[dict]) -> dict:
    """Blocks in a paragraph style of ``reference``."""
    return {"t": "Div", "c": [["", [], [["custom-style", name]]], content]}


def field(instruction: str, part: str) -> dict:
    """A piece of a field of Word's: its start or its end; what stands between is shown until Word counts anew."""
    start = (
        '<w:r><w:fldChar w:fldCharType="begin"{}/></w:r>'
        f'<w:r><w:instrText xml:space="preserve"> {html.escape(instruction, quote=False)} </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    ).format(' w:dirty="true"' if instruction == CONTENTS else "")
    return raw("openxml", start if part == "start" else '<w:r><w:fldChar w:fldCharType="end"/></w:r>', "RawInline")


def add_contents(tree: dict) -> None:
    """The contents behind the abstract, else before the text: links to the headings, to which Word adds the pages."""
    headings = [each for each in elements(tree["blocks"], "Header") if each["c"][0] in (2, 3) and each["c"][1][0]]
    if len(headings) < 2:
        return
    lines = []
    for each in headings:
        level, (name, *_), words = each["c"]
        link = {"t": "Link", "c": [["", [], []], [string(plain_text(words))], [f"#{name}", ""]]}
        lines.append(([link], f"toc {level - 1}"))
    lines[0][0].insert(0, field(CONTENTS, "start"))
    lines[-1][0].append(field(CONTENTS, "end"))
    contents = [styled("TOC Heading", [{"t": "Para", "c": [string("目录")]}])]
    contents += [styled(style, [{"t": "Para", "c": line}]) for line, style in lines]
    _, place = abstract_place(tree) or (0, 0)
    if place:
        contents.insert(0, raw("openxml", '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'))
    tree["blocks"][place:place] = contents


def set_cells(table: dict) -> None:
    """Put a table's cells into the style of its text, smaller than the prose's."""
    rows = table_rows(table)
    for at, row in enumerate(rows, 1):
        style = "Table Text Next" if at < len(rows) <= KEPT else "Table Text"
        for cell in row[1]:
            lines = [
                each | {"t": "Para"} if each["t"] == "Plain" else each for each in cell[4]
            ]  # pandoc styles the plain
            cell[4] = [styled(style, lines)] if lines else []


def count_caption(element: dict) -> None:
    """Let Word count: the number that stands before a caption becomes a field, for lists of figures and references."""
    for strong in elements(element["c"][1][1][:1], "Strong"):
        kind, number = plain_text(strong)[:1], plain_text(strong)[1:]
        if kind in ("图", "表") and number.isdigit():
            instruction = rf"SEQ {kind} \* ARABIC"
            strong["c"] = [string(kind), field(instruction, "start"), string(number), field(instruction, "end")]
            return


def word_box(element: dict) -> list[dict]:
    """Numbered formulas between tab stops, coloured words on their ground."""
    if element["t"] == "Div" and element["c"][0][1] == ["equation"]:
        (label, _, pairs), formula = element["c"]
        number = [{"t": "Plain", "c": [string(pairs[0][1])]}]
        return [beside(label, formula, number)]
    if element["t"] == "Span" and (ground := color_of(element["c"][0][2], "background-color")):
        words = html.escape(plain_text(element["c"][1]), quote=False)
        run = f'<w:rPr><w:color w:val="000000"/><w:shd w:val="clear" w:fill="{ground[1:7]}"/></w:rPr>'
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
    for name in ("Table Text", "toc 1", "toc 2"):
        document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH).base_style = document.styles["Normal"]
    document.styles.add_style("Table Text Next", WD_STYLE_TYPE.PARAGRAPH).base_style = document.styles["Table Text"]
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
    for name in ("toc 1", "toc 2"):
        document.styles[name].paragraph_format.space_after = Pt(0)
    document.styles["toc 2"].paragraph_format.left_indent = Pt(21)
    works = document.styles["Bibliography"].paragraph_format
    works.left_indent, works.first_line_indent, works.space_after = Pt(24), Pt(-24), Pt(2)
    for name in ("Table Caption", "Table Text Next"):
        document.styles[name].paragraph_format.keep_with_next = True
    document.styles["First Paragraph"].paragraph_format.space_before = Pt(4)  # it stands behind tables
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


def undated(content: bytes) -> bytes:
    """The file without the times at which it and its parts were made: the same notebook gives the same bytes."""
    written = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(written, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name == "docProps/core.xml":
                part = re.sub(rb"<(dcterms:\w+) .*?</\1>", b"", part)
            new.writestr(ZipInfo(name), part, ZIP_DEFLATED)
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
