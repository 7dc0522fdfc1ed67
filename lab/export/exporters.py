"""The report's three nbconvert exporters: one HTML file that loads nothing, one PDF without TeX, one Word file.

The way of a notebook: ``pieces`` (cells and outputs as clean HTML and listings) -> ``document`` (one pandoc tree:
title, numbered captions, pictures) -> ``pandoc`` -> HTML or Word, or Typst -> ``typeset`` -> PDF.

``nb.metadata["lab"]`` may hold the cover: ``title``, ``course``, ``author``, ``student_id``, ``date``, ``notice``; without
a title it is the first heading of level 1, else the notebook's name.

Cell tags: ``remove-cell``, ``parameters`` and ``injected-parameters`` leave nothing; ``remove-input`` and ``hide-input``
no code; ``remove-output`` and ``hide-output`` no output. nbconvert's own options (``--no-input``,
``TemplateExporter.exclude_…``, ``TagRemovePreprocessor.…``) hold as well.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
import tempfile
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote

from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters import strip_ansi
from traitlets.config import Application, Config

from lab.errors import LabError
from lab.export.layout import for_page, for_print
from lab.export.markup import OPENING_HTML, cut_formulas, from_html, from_markdown
from lab.export.nodes import elements, plain_text, text
from lab.export.numbers import cite
from lab.export.pictures import PICTURES
from lab.export.tools import TEMPLATES, by_font, font_face, pandoc, run_pandoc, typeset
from lab.export.tree import document

NO_CELL = {"remove-cell", "parameters", "injected-parameters"}
NO_INPUT = {"remove-input", "hide-input"}
NO_OUTPUT = {"remove-output", "hide-output"}
WORD_PICTURES = dict(sorted(PICTURES.items(), key=lambda each: each[1] == "svg"))  # older versions show no SVG
HTML_LIMIT = 3_000_000  # bytes; a larger page is still written, with a warning
# Outputs that live in JupyterLab only, by a part of their MIME type.
LIVE = {
    "plotly": "Plotly图",
    "vega": "Vega图",
    "bokeh": "Bokeh图",
    "geo+json": "GeoJSON地图",
    "widget-view": "交互控件",
    "javascript": "JavaScript输出",
    "application/pdf": "PDF文件",
    "video/": "视频",
    "audio/": "音频",
}
PROGRESS = re.compile(r"\d+%\s*\|.*\||\d+(?:it|B) ?\[\d\d:\d\d|\[\d\d:\d\d(?::\d\d)?<")  # tqdm's bars
OBJECT = re.compile(r"<(?:IPython\.core\.display\.\w+|[\w.]+) object(?: at 0x[0-9a-f]+)?>")  # says nothing to a reader


class LabExporter(TemplateExporter):
    """What the exporters share: the notebook in, a pandoc tree on, one Chinese line for every failure.

    Of ``TemplateExporter`` only the options are used, which nbconvert's command sets under its name.
    """

    pictures = PICTURES  # MIME types that are shown, best first

    @property
    def default_config(self):
        joined = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})  # a line may come in several pieces
        joined.merge(super().default_config)
        return joined

    def from_notebook_node(self, nb, resources=None, **kw):
        """Return the finished file's content and the resources; raises ``LabError``."""
        nb = copy.deepcopy(nb)
        for number, cell in enumerate(nb.cells, 1):  # before nbconvert takes any away
            cell.metadata["cell"] = number
        nb, resources = super(TemplateExporter, self).from_notebook_node(nb, resources, **kw)
        try:
            parts, kept, media = self.pieces(nb)
            folder = Path(resources["metadata"].get("path") or ".")
            tree, warnings = document(parts, kept, media, dict(nb.metadata.get("lab", {})), folder)
            tree["meta"].setdefault("title", text(resources["metadata"].get("name", "")))
            shown = plain_text(tree) + "".join(code["c"][1] for code in elements(tree, "CodeBlock"))
            for char in sorted(by_font(shown).get(None, ())):
                warnings.append(f"字符{char}（U+{ord(char):04X}）没有字形，会显示为空框：请换一个字符。")
            for warning in warnings:
                self.log.warning(warning)
            return self.write(tree, media), resources
        except LabError as error:
            # nbconvert's own command would print a traceback; as a library (lab, Jupyter server) we raise.
            if Application.initialized() and Application.instance().name == "jupyter-nbconvert":
                raise SystemExit(f"错误：{error}") from None
            raise

    def convert(self, tree: dict, target: str, *options: str) -> str:
        """Write the tree through pandoc."""
        tree, cells = self.ready(tree)
        return pandoc(json.dumps(tree), "json", target, *options, cells=cells)

    def ready(self, tree: dict) -> tuple[dict, dict[str, int]]:
        """The tree with its citations set, and the cell of each formula."""
        cells = {"".join(each["c"][1].split()): each.get("cell") for each in elements(tree, "Math")}
        return cite(tree), cells

    def pieces(self, nb) -> tuple[list[dict], list, dict[str, bytes]]:
        """Return the notebook as a list of ``{kind, label, cell, format, text}``, formulas cut out, pictures by name.

        ``kind`` is ``text``, ``code``, ``output``, or 图 or 表 for the caption of the piece before; ``format`` is
        ``html``, ``verbatim`` or ``python``; ``cell`` counts from 1.
        """
        parts, kept, media = [], [], {}

        def add(kind, form, content, label=""):
            parts.append({"kind": kind, "label": label, "cell": number, "format": form, "text": content})

        for cell in nb.cells:
            number = cell.metadata["cell"]
            tags = set(cell.metadata.get("tags", []))
            bare = cell.metadata.get("transient", {}).get("remove_source")  # set by nbconvert's TagRemovePreprocessor
            if tags & NO_CELL or (bare and cell.cell_type != "code"):
                continue
            if cell.cell_type == "markdown" and not self.exclude_markdown:
                add("text", "html", attached(from_markdown(cell.source, kept), cell.get("attachments", {})))
            if cell.cell_type == "raw" and not self.exclude_raw and cell.source.strip():
                if shown := raw_cell(cell, kept):
                    add("text", *shown)
            if cell.cell_type != "code" or self.exclude_code_cell:
                continue
            hidden = self.exclude_input or tags & NO_INPUT or bare
            if cell.source.strip() and not hidden:
                add("code", "python", printable(cell.source))
            for output in [] if self.exclude_output or tags & NO_OUTPUT else cell.outputs:
                caption = output.get("metadata", {}).get("lab")
                if caption and caption["kind"] == "progress":
                    continue  # of a run: see lab/progress.py
                if caption:
                    add(caption["kind"], "html", from_markdown(caption["caption"], kept), caption["label"])
                    continue
                try:
                    shown = output_text(output, media, kept, self.pictures)
                except (binascii.Error, TypeError, AttributeError):
                    raise LabError(f"第{number}个单元格有一个输出损坏，不能读取：请重新运行这个单元格。") from None
                if shown:
                    add("output", *shown)
        return parts, kept, media


class LabHTMLExporter(LabExporter):
    """One self-contained HTML file: MathML, pictures inside, no script."""

    export_from_notebook = "实验报告HTML"
    output_mimetype = "text/html"

    def _file_extension_default(self):
        return ".html"

    def write(self, tree: dict, media: dict[str, bytes]) -> str:
        """The page's text."""
        for_page(tree, media)
        page = self.convert(
            tree, "html", "--mathml", "--toc", "--toc-depth=3", "--template", str(TEMPLATES / "report.html")
        )
        # pandoc sets \| as the sign of parallels, which Chinese fonts draw slanted: a norm's bars are another sign.
        page = re.sub(r'(form="(?:pre|post)fix">)∥', r"\1‖", page)
        page = re.sub(r"<th(?=[ >])", '<th scope="col"', page)
        page = page.replace("</head>", f"<style>{font_face(page)}</style>\n</head>", 1)
        if len(page.encode()) > HTML_LIMIT:
            self.log.warning(
                "网页有%.1fMB，超过3MB：请把点很多的图改为figures.show(…, raster=True)。", len(page.encode()) / 1e6
            )
        return page


class LabPDFExporter(LabExporter):
    """A PDF set by Typst in the Noto fonts of two wheels."""

    export_from_notebook = "实验报告PDF"
    output_mimetype = "application/pdf"

    def _file_extension_default(self):
        return ".pdf"

    def write(self, tree: dict, media: dict[str, bytes]) -> bytes:
        """The PDF's bytes, the same for the same notebook."""
        for_print(tree)
        options = ["--shift-heading-level-by=-1", "--syntax-highlighting=idiomatic"]
        source = self.convert(tree, "typst", *options, "--template", str(TEMPLATES / "report.typ"))
        return typeset(source, media)


class LabDocxExporter(LabExporter):
    """A Word file: formulas are Word's own, pictures are PNG, the contents a field."""

    export_from_notebook = "实验报告Word"
    output_mimetype = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    pictures = WORD_PICTURES

    def _file_extension_default(self):
        return ".docx"

    def write(self, tree: dict, media: dict[str, bytes]) -> bytes:
        """The file's bytes."""
        from lab.export import word  # python-docx takes a third of a second to load

        word.for_word(tree, media)
        with tempfile.NamedTemporaryFile(suffix=".docx") as styles:
            styles.write(word.reference())
            styles.flush()
            options = ["--output=-", f"--reference-doc={styles.name}", "--shift-heading-level-by=-1"]
            tree, cells = self.ready(tree)
            return run_pandoc(json.dumps(tree), "--from=json", "--to=docx", *options, cells=cells)


# --- cells and outputs -----------------------------------------------------------------------------------------------


def raw_cell(cell, kept: list) -> tuple[str, str] | None:
    """A raw cell by its format; None where it is meant for another exporter, as nbconvert has it."""
    form = cell.metadata.get("format") or cell.metadata.get("raw_mimetype") or "text/plain"
    if form == "text/markdown":
        return "html", from_markdown(cell.source, kept)
    if form == "text/html":
        return "html", from_html(cell.source, kept)[0]
    return ("verbatim", printable(cell.source)) if form == "text/plain" else None


def output_text(output, media: dict[str, bytes], kept: list, pictures: dict[str, str]) -> tuple[str, str] | None:
    """Return ``(format, text)`` of an output's best static form and put its picture into ``media``.

    What only JupyterLab can show is named. None is for progress bars and what is empty in JupyterLab too.
    """
    if output.output_type == "stream":
        lines = terminal(joined(output.text)).split("\n")
        if output.name == "stderr":
            lines = [line for line in lines if not PROGRESS.search(line)]
        return ("verbatim", "\n".join(lines)) if "".join(lines).strip() else None
    if output.output_type == "error":
        return "verbatim", terminal(f"{output.ename}: {output.evalue}")
    data = output.data
    live = [(mime, kind) for mime in data for part, kind in LIVE.items() if part in mime]
    if content := joined(data.get("text/markdown", "")).strip():
        return "html", from_markdown(content, kept)
    for mime, suffix in pictures.items():
        if mime in data:
            name = f"picture-{len(media) + 1}.{suffix}"
            content = joined(data[mime])
            media[name] = content.encode() if suffix == "svg" else base64.b64decode(content)
            facts = output.metadata.get("image/png", {}) | output.metadata.get(mime, {})
            wanted = {"width": facts.get("width"), "alt": facts.get("alt")}
            marks = "".join(f' {key}="{escape(str(value))}"' for key, value in wanted.items() if value)
            return "html", f'<img src="{name}"{marks}>'
    if source := joined(data.get("text/html", "")):
        page, seen = from_html(source, kept)
        if seen:
            return "html", page
        if "<script" in source:
            live.append(("text/html", "网页脚本"))
    if content := joined(data.get("text/latex", "")).strip():
        return "html", f"<p>{escape(cut_formulas(content, kept, OPENING_HTML), quote=False)}</p>"
    plain = terminal(joined(data.get("text/plain", "")))
    if any(kind == "交互控件" for _, kind in live) and plain.strip():
        return None if PROGRESS.search(plain) else ("verbatim", plain)
    if live:
        mime, kind = live[0]
        return "html", f"<p>〔此处有{kind}（{mime}），笔记本里没有它的静态图片，报告无法显示。〕</p>"
    for mime, content in data.items():
        if mime.endswith("json"):
            return "verbatim", printable(json.dumps(content, ensure_ascii=False, indent=2))
    if plain.strip() and not OBJECT.fullmatch(plain.strip()):
        return "verbatim", plain
    strange = [mime for mime in data if mime not in ("text/plain", "text/html", "text/markdown", "text/latex")]
    if strange:
        return "html", f"<p>〔此处有{escape(strange[0])}类型的输出，报告无法显示。〕</p>"
    return ("verbatim", plain) if plain.strip() and "text/html" not in data else None


def joined(content) -> str:
    """The text of an output, which a notebook file may hold as a list of lines."""
    return "".join(content) if isinstance(content, list) else str(content)


def attached(page: str, attachments: dict) -> str:
    """Replace the addresses of a cell's attachments by the pictures themselves; an unknown one stays."""

    def picture(address: re.Match) -> str:
        for mime, content in attachments.get(unquote(unescape(address[1])), {}).items():
            return f"data:{mime};base64,{joined(content)}"
        return address[0]

    return re.sub(r'(?<=(?:src|ref)=")attachment:([^"]*)', picture, page)


def terminal(content: str) -> str:
    """What a terminal would show in the end: no colour codes, only the last state of a line that was overwritten."""
    lines = strip_ansi(content).rstrip().split("\n")
    return printable("\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines))


def printable(content: str) -> str:
    """``content`` without control characters other than tabs and line ends."""
    return re.sub(r"[^\t\n -\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", content)
