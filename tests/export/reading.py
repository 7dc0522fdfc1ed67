"""Notebooks put through both exporters, and what a reader finds in the files."""

from __future__ import annotations

import base64
import io
import re
import unicodedata

from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from pypdf import PdfReader

from lab.export.exporters import LabHTMLExporter, LabPDFExporter


def picture(kind: str = "png") -> str:
    """A small picture as base64."""
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "#1f4e79").save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def shown(data: dict, **metadata):
    """A code cell whose only output has these MIME types."""
    return new_code_cell("", outputs=[new_output("display_data", data=data, metadata=metadata)])


def caption(kind: str, words: str, label: str = ""):
    """The output that ``figures`` writes behind a picture (图) or a table (表)."""
    facts = {"lab": {"kind": kind, "caption": words, "label": label}}
    return new_output("display_data", data={"text/markdown": words}, metadata=facts)


def notebook(*cells, **metadata):
    """A notebook of Markdown sources and ready cells."""
    return new_notebook(
        cells=[new_markdown_cell(each) if isinstance(each, str) else each for each in cells], metadata=metadata
    )


def page(*cells, folder: str = ".", **options) -> BeautifulSoup:
    """The HTML export without what a reader does not see."""
    resources = {"metadata": {"name": "名字", "path": folder}}
    soup = BeautifulSoup(LabHTMLExporter(**options).from_notebook_node(notebook(*cells), resources)[0], "html.parser")
    for hidden in soup(["style", "annotation", "head"]):
        hidden.decompose()
    return soup


def pdf(*cells, folder: str = ".", **options) -> PdfReader:
    """The PDF export."""
    resources = {"metadata": {"name": "名字", "path": folder}}
    return PdfReader(io.BytesIO(LabPDFExporter(**options).from_notebook_node(notebook(*cells), resources)[0]))


def words(file: BeautifulSoup | PdfReader) -> str:
    """The text of either file without blanks."""
    if isinstance(file, PdfReader):
        text = "\n".join(each.extract_text() for each in file.pages)
    else:
        text = file.get_text()
    return squeeze(text)


def squeeze(text: str) -> str:
    """Text without blanks, and without the slant that Typst gives to letters in formulas."""
    return re.sub(r"[\s\u200b]", "", unicodedata.normalize("NFKC", text))


def outline(file: PdfReader) -> list[tuple[int, str]]:
    """The PDF's bookmarks with their levels, from 1."""

    def walk(entries, level):
        for each in entries:
            if isinstance(each, list):
                yield from walk(each, level + 1)
            else:
                yield level, squeeze(each.title)

    return list(walk(file.outline, 1))
