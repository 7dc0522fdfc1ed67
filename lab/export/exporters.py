"""The report's two nbconvert exporters: one HTML file that loads nothing, one PDF without TeX, both through pandoc.

The way of a notebook: ``pieces`` (cells and outputs as Markdown, HTML, listings) -> ``document`` (one pandoc tree:
title, numbered captions, pictures) -> ``pandoc`` -> HTML, or Typst -> ``typeset`` -> PDF.

``nb.metadata["lab"]`` may hold the cover: ``title``, ``course``, ``author``, ``student_id``, ``date``, ``notice``; without
a title it is the first heading of level 1, else the notebook's name.

Cell tags: ``remove-cell``, ``parameters`` and ``injected-parameters`` leave nothing; ``remove-input`` and ``hide-input``
no code; ``remove-output`` and ``hide-output`` no output.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from urllib.parse import quote

from nbconvert.exporters import Exporter
from traitlets.config import Application

from lab.errors import LabError
from lab.export.tools import TEMPLATES, font_face, pandoc, typeset
from lab.export.tree import PICTURES, document, fit_tables, inline_pictures, keep_short_cells, text, wrap_blocks

# What JupyterLab understands: CommonMark, GitHub's tables, formulas between dollars.
MARKDOWN = (
    "commonmark+pipe_tables+tex_math_dollars+strikeout+task_lists+footnotes+raw_html"
    "+gfm_auto_identifiers+implicit_figures"
)
NO_CELL = {"remove-cell", "parameters", "injected-parameters"}
NO_INPUT = {"remove-input", "hide-input"}
NO_OUTPUT = {"remove-output", "hide-output"}
HTML_LIMIT = 3_000_000  # bytes; a larger page is still written, with a warning


class LabExporter(Exporter):
    """What both exporters share: the notebook in, a pandoc tree on, one Chinese line for every failure."""

    def from_notebook_node(self, nb, resources=None, **kw):
        """Return the finished file's content and the resources; raises ``LabError``."""
        nb, resources = super().from_notebook_node(nb, resources, **kw)
        try:
            parts, media = pieces(nb)
            folder = Path(resources["metadata"].get("path") or ".")
            tree = document(parts, media, cover=dict(nb.metadata.get("lab", {})), folder=folder)
            tree["meta"].setdefault("title", text(resources["metadata"].get("name", "")))
            return self.write(tree, media), resources
        except LabError as error:
            # nbconvert's own command would print a traceback; as a library (lab, Jupyter server) we raise.
            if Application.initialized() and Application.instance().name == "jupyter-nbconvert":
                raise SystemExit(f"错误：{error}") from None
            raise


class LabHTMLExporter(LabExporter):
    """One self-contained HTML file: MathML, pictures inside, no script."""

    export_from_notebook = "实验报告HTML"
    output_mimetype = "text/html"

    def _file_extension_default(self):
        return ".html"

    def write(self, tree: dict, media: dict[str, bytes]) -> str:
        """The page's text."""
        wrap_blocks(tree)
        keep_short_cells(tree)
        inline_pictures(tree, media)
        options = ["--mathml", "--toc", "--toc-depth=3", "--template", str(TEMPLATES / "report.html")]
        page = pandoc(json.dumps(tree), "json", "html", *options)
        # pandoc sets \| as the sign of parallels, which Chinese fonts draw slanted: a norm's bars are another sign.
        page = re.sub(r'(form="(?:pre|post)fix">)∥', r"\1‖", page)
        page = page.replace("</head>", f"<style>{font_face(page)}</style>\n</head>", 1)
        if len(page.encode()) > HTML_LIMIT:
            self.log.warning(
                "网页有%.1fMB，超过3MB：请把点很多的图改为figures.show(…, raster=True)。", len(page.encode()) / 1e6
            )
        return page


class LabPDFExporter(LabExporter):
    """A PDF set by Typst in the Noto CJK fonts of a wheel."""

    export_from_notebook = "实验报告PDF"
    output_mimetype = "application/pdf"

    def _file_extension_default(self):
        return ".pdf"

    def write(self, tree: dict, media: dict[str, bytes]) -> bytes:
        """The PDF's bytes, the same for the same notebook."""
        fit_tables(tree)
        options = ["--shift-heading-level-by=-1", "--syntax-highlighting=idiomatic"]
        source = pandoc(json.dumps(tree), "json", "typst", *options, "--template", str(TEMPLATES / "report.typ"))
        return typeset(source, media)


# --- the notebook's pieces -------------------------------------------------------------------------------------------


def pieces(nb) -> tuple[list[dict], dict[str, bytes]]:
    """Return the notebook as a list of ``{kind, label, format, text}`` and its pictures by name.

    ``kind`` is ``text``, ``code``, ``output``, or 图 or 表 for the caption of the piece before.
    """
    parts, media = [], {}

    def add(kind, form, content, label=""):
        parts.append({"kind": kind, "label": label, "format": form, "text": content + "\n"})

    for cell in nb.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & NO_CELL:
            continue
        if cell.cell_type == "markdown":
            add("text", MARKDOWN, attached(display_math(cell.source), cell.get("attachments", {})))
        if cell.cell_type != "code":
            continue
        if cell.source.strip() and not tags & NO_INPUT:
            add("code", "python", cell.source)
        for output in [] if tags & NO_OUTPUT else cell.outputs:
            caption = output.get("metadata", {}).get("lab")
            if caption:
                add(caption["kind"], MARKDOWN, caption["caption"], caption["label"])
            elif content := output_text(output, media):
                add("output", *content)
    return parts, media


def output_text(output, media: dict[str, bytes]) -> tuple[str, str] | None:
    """Return ``(format, text)`` of an output and put its picture into ``media``; None where a report shows nothing."""
    if output.output_type == "stream":  # of stderr nothing: progress bars and warnings
        return ("verbatim", terminal(output.text)) if output.name == "stdout" and output.text.strip() else None
    if output.output_type == "error":
        return "verbatim", terminal(f"{output.ename}: {output.evalue}")
    data = output.data
    if "application/vnd.jupyter.widget-view+json" in data:
        return None
    if "text/markdown" in data:
        return MARKDOWN, display_math(data["text/markdown"])
    for mime, suffix in PICTURES.items():
        if mime in data:
            name = f"picture-{len(media) + 1}.{suffix}"
            media[name] = data[mime].encode() if suffix == "svg" else base64.b64decode(data[mime])
            width = output.metadata.get(mime, {}).get("width")
            return "html", f'<img src="{name}"' + (f' width="{width}">' if width else ">")
    if "text/html" in data:
        return "html", data["text/html"]
    if "text/latex" in data:
        return MARKDOWN, display_math(data["text/latex"])
    return ("verbatim", terminal(data["text/plain"])) if data.get("text/plain", "").strip() else None


def display_math(source: str) -> str:
    r"""Put dollars round a bare ``\begin{align}`` … ``\end{align}``, which Jupyter sets and Markdown does not know."""
    bare = r"^\\begin\{((?:align|equation|gather|eqnarray|multline)\*?)\}.*?\\end\{\1\}"
    whole = rf"^```.*?^```|\$\$.*?\$\$|{bare}"  # listings and formulas that have their dollars stay as they are
    return re.sub(
        whole, lambda found: f"$$\n{found[0]}\n$$" if found[1] else found[0], source, flags=re.MULTILINE | re.DOTALL
    )


def attached(source: str, attachments: dict) -> str:
    """Replace references to a cell's attachments by the pictures themselves."""
    for name, data in attachments.items():
        mime, content = next(iter(data.items()))
        for written in (name, quote(name)):
            source = source.replace(f"(attachment:{written})", f"(data:{mime};base64,{content})")
    return source


def terminal(content: str) -> str:
    """What a terminal would show in the end: no colour codes, only the last state of a line that was overwritten."""
    content = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", content)
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in content.rstrip().split("\n"))
