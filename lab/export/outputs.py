"""A notebook's cells and outputs, each as clean HTML or a listing in its best static form."""

from __future__ import annotations

import base64
import json
import re
from html import escape, unescape
from urllib.parse import unquote

from nbconvert.filters import strip_ansi

from lab.export.markup import MARKER, OPENING_HTML, cut_formulas, from_html, from_markdown
from lab.export.pictures import PICTURES

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
# tqdm's bars: 40%|████      | 2/5 [00:01<…, and 7it [00:03, 2.1it/s] where the end is unknown
TIME = r"(?:\d+:)?\d\d:\d\d"
PROGRESS = re.compile(rf"\d%\|[ #0-9\u2581-\u258f█]*\||\d\S* ?\[{TIME}(?:<(?:{TIME}|\?)|, +[\d.?]+ ?\S*/s)")
OBJECT = re.compile(r"<(?:IPython\.core\.display\.\w+|[\w.]+) object(?: at 0x[0-9a-f]+)?>")  # says nothing to a reader


def raw_cell(cell, kept: list) -> tuple[str, str] | None:
    """A raw cell by its format; None where it is meant for another exporter, as nbconvert has it."""
    form = cell.metadata.get("format") or cell.metadata.get("raw_mimetype") or "text/plain"
    if form == "text/markdown":
        return "html", from_markdown(cell.source, kept)
    if form == "text/html":
        return "html", from_html(cell.source, kept)[0]
    return ("verbatim", printable(cell.source)) if form == "text/plain" else None


def output_text(output, media: dict[str, bytes], kept: list) -> tuple[str, str] | None:
    """Return ``(format, text)`` of an output's best static form and put its picture, in all its forms, into ``media``.

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
    if forms := {mime: suffix for mime, suffix in PICTURES.items() if mime in data}:
        name = f"picture-{len(media) + 1}"
        for mime, suffix in forms.items():
            content = joined(data[mime])
            media[f"{name}.{suffix}"] = content.encode() if suffix == "svg" else base64.b64decode(content)
        mime, suffix = next(iter(forms.items()))
        facts = output.metadata.get("image/png", {}) | output.metadata.get(mime, {})
        wanted = {"width": facts.get("width"), "alt": facts.get("alt")}
        marks = "".join(f' {key}="{escape(str(value))}"' for key, value in wanted.items() if value)
        return "html", f'<img src="{name}.{suffix}"{marks}>'
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
    """``content`` without markers, and without control characters other than tabs and line ends."""
    return re.sub(r"[^\t\n -\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", MARKER.sub("", content))
