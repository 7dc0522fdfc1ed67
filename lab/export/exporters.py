"""The report's three nbconvert exporters: one HTML file that loads nothing, one PDF without TeX, one Word file.

The way of a notebook: ``pieces`` (cells and outputs as clean HTML and listings) -> ``document`` (one pandoc tree:
title, numbered captions, pictures), the same for all three -> ``pandoc`` -> HTML or Word, or Typst -> ``typeset`` -> PDF.

``nb.metadata["lab"]`` may hold the cover: ``title``, ``course``, ``author``, ``student_id``, ``date``, ``notice``; without
a title it is the first heading of level 1, else the notebook's name.

Cell tags: ``remove-cell``, ``parameters`` and ``injected-parameters`` leave nothing; ``remove-input`` and ``hide-input``
no code; ``remove-output`` and ``hide-output`` no output. nbconvert's own options (``--no-input``,
``TemplateExporter.exclude_…``, ``TagRemovePreprocessor.…``) hold as well.
"""

from __future__ import annotations

import binascii
import contextlib
import copy
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets.config import Application, Config

from lab.errors import LabError
from lab.export.layout import for_page, for_print
from lab.export.markup import from_markdown
from lab.export.nodes import elements, plain_text, text
from lab.export.numbers import cite
from lab.export.outputs import attached, output_text, printable, raw_cell
from lab.export.tex import share_macros
from lab.export.tools import TEMPLATES, by_font, font_face, pandoc, run_pandoc, typeset
from lab.export.tree import document

NO_CELL = {"remove-cell", "parameters", "injected-parameters"}
NO_INPUT = {"remove-input", "hide-input"}
NO_OUTPUT = {"remove-output", "hide-output"}
HTML_LIMIT = 3_000_000  # bytes; a larger page is still written, with a warning


class LabExporter(TemplateExporter):
    """What the exporters share: the notebook in, a pandoc tree on, one Chinese line for every failure.

    Of ``TemplateExporter`` only the options are used, which nbconvert's command sets under its name.
    """

    @property
    def default_config(self):
        joined = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})  # a line may come in several pieces
        joined.merge(super().default_config)
        return joined

    def from_file(self, file_stream, resources=None, **kw):
        """Read and convert an open file; one that is no notebook is a ``LabError``."""
        with one_line():
            try:
                nb = nbformat.reads(file_stream.read().removeprefix("\ufeff"), as_version=4)
            except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
                raise broken(resources, error) from error
        return self.from_notebook_node(nb, resources, **kw)

    def from_notebook_node(self, nb, resources=None, **kw):
        """Return the finished file's content and the resources; raises ``LabError``."""
        with one_line():
            tree, media, resources = self.read(nb, resources, **kw)
            return self.write(tree, media), resources

    def read(self, nb, resources=None, **kw) -> tuple[dict, dict[str, bytes], dict]:
        """The notebook as pandoc's tree, its pictures by name, and nbconvert's resources; for ``write`` of any kind."""
        nb = copy.deepcopy(nb)
        for number, cell in enumerate(nb.cells, 1):  # before nbconvert takes any away
            cell.metadata["cell"] = number
        try:
            nb, resources = super(TemplateExporter, self).from_notebook_node(nb, resources, **kw)
        except nbformat.ValidationError as error:
            raise broken(resources, error) from error
        parts, kept, media = self.pieces(nb)
        folder = Path(resources["metadata"].get("path") or ".")
        cover = nb.metadata.get("lab")
        tree, warnings = document(parts, kept, media, dict(cover) if isinstance(cover, dict) else {}, folder)
        tree["meta"].setdefault("title", text(resources["metadata"].get("name", "")))
        shown = plain_text(tree) + "".join(code["c"][1] for code in elements(tree, "CodeBlock"))
        for char in sorted(by_font(shown).get(None, ())):
            warnings.append(f"字符{char}（U+{ord(char):04X}）没有字形，会显示为空框：请换一个字符。")
        for warning in warnings:
            self.log.warning(warning)
        return tree, media, resources

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
                try:
                    caption = output.get("metadata", {}).get("lab")
                    if caption and caption["kind"] == "progress":
                        continue  # of a run: see lab/progress.py
                    if caption:
                        add(caption["kind"], "html", from_markdown(caption["caption"], kept), caption["label"])
                        continue
                    shown = output_text(output, media, kept)
                except (binascii.Error, KeyError, TypeError, AttributeError):
                    raise LabError(f"第{number}个单元格有一个输出损坏，不能读取：请重新运行这个单元格。") from None
                if shown:
                    add("output", *shown)
        share_macros([element for _, element in kept if element["t"] == "Math"])
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

    def _file_extension_default(self):
        return ".docx"

    def write(self, tree: dict, media: dict[str, bytes]) -> bytes:
        """The file's bytes, the same for the same notebook."""
        from lab.export import word  # python-docx takes a third of a second to load

        word.for_word(tree, media)
        with tempfile.NamedTemporaryFile(suffix=".docx") as styles:
            styles.write(word.reference())
            styles.flush()
            options = ["--output=-", f"--reference-doc={styles.name}", "--shift-heading-level-by=-1"]
            tree, cells = self.ready(tree)
            return word.undated(run_pandoc(json.dumps(tree), "--from=json", "--to=docx", *options, cells=cells))


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Make one line of a ``LabError`` where nbconvert's own command would print a traceback.

    As a library (lab, Jupyter server) we raise.
    """
    try:
        yield
    except LabError as error:
        if Application.initialized() and Application.instance().name == "jupyter-nbconvert":
            raise SystemExit(f"错误：{error}") from None
        raise


def broken(resources: dict | None, error: Exception) -> LabError:
    """What is said of a file that is no notebook, or none that any more."""
    name = (resources or {}).get("metadata", {}).get("name", "")
    reason = str(error).strip().split("\n")[0][:120]
    return LabError(f"文件{name}.ipynb不是完整的笔记本（{reason}）：请在JupyterLab里打开并重新保存它，或换一份。")
