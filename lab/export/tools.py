"""The programs and fonts behind the exporters, all from wheels: pandoc, Typst, Noto fonts."""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import re
import subprocess
import tempfile
import unicodedata
from pathlib import Path

from lab.errors import LabError
from lab.files import PROJECT

TEMPLATES = PROJECT / "report" / "templates"


# --- pandoc ----------------------------------------------------------------------------------------------------------


def pandoc(content: str, source: str, target: str, *options: str, cells: dict[str, int] | None = None) -> str:
    """Convert text by the wheel's pandoc; see ``run_pandoc``."""
    options = ("--from", source, "--to", target, "--wrap=none", *options)
    return run_pandoc(content, *options, cells=cells).decode()


def run_pandoc(content: str, *options: str, cells: dict[str, int] | None = None) -> bytes:
    """Run the wheel's pandoc; a formula that it cannot read is a ``LabError``, not raw TeX in the report.

    ``cells`` gives the cell's number for a formula without blanks.
    """
    try:
        import pypandoc

        command = [pypandoc.get_pandoc_path(), *options]
        done = subprocess.run(command, input=content.encode(errors="replace"), capture_output=True, check=False)
    except (ImportError, OSError) as error:
        raise LabError("找不到pandoc：请重新安装依赖（uv sync，或pip install pypandoc_binary）。") from error
    messages = done.stderr.decode(errors="replace")
    if formula := re.search(r"Could not convert TeX math (.+?), rendering as TeX", messages, re.DOTALL):
        cell = (cells or {}).get("".join(formula[1].split()))
        place = f"（第{cell}个单元格）" if cell else ""
        raise LabError(f"公式{' '.join(formula[1].split())[:120]}不能排版{place}：请检查其中的命令和括号。")
    if done.returncode:
        raise LabError(f"pandoc转换失败（退出码{done.returncode}）：{' '.join(messages.split())[:300]}")
    return done.stdout


# --- Typst -----------------------------------------------------------------------------------------------------------


def typeset(source: str, media: dict[str, bytes]) -> bytes:
    """Compile Typst source and pictures to a PDF with the wheels' fonts only.

    What Typst refuses is a ``LabError`` with the cell that the last comment ``// cell 3`` before the place names.
    """
    import typst

    source = mend(source)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in {**media, "report.typ": source.encode()}.items():
                (Path(folder) / name).write_bytes(content)
            folders = sorted({font.parent for font in font_files()})
            return typst.compile(f"{folder}/report.typ", root=folder, font_paths=folders, ignore_system_fonts=True)
    except (RuntimeError, ValueError, OSError) as error:
        place = re.search(r"report\.typ:(\d+):", getattr(error, "diagnostic", ""))
        above = source.split("\n")[: int(place[1])] if place else []
        cells = re.findall(r"^// cell (\d+)$", "\n".join(above), re.MULTILINE)
        where = f"第{cells[-1]}个单元格" if cells else "封面或目录"
        raise LabError(f"{where}不能排成PDF（typst：{str(error).splitlines()[0]}）。网页版不受影响。") from error


def mend(source: str) -> str:
    r"""Correct what pandoc 3.9 writes for formulas and Typst 0.15 does not take; more of it stands in the template.

    The circled operators (``\odot``, …) and double brackets have new names (jgm/pandoc#11591, jgm/texmath#287), the bars
    of a ``Vmatrix`` are one character; the spaces ``\;`` and ``\!``
    come as whole numbers of em, rounded down.
    """
    source = re.sub(r"\b(dot|times|minus|dash)\.circle\b", r"\1.o", source)
    source = re.sub(r"\bbracket\.([lr])\.double\b", r"bracket.\1.stroked", source).replace(
        'mat(delim: "||"', 'mat(delim: "‖"'
    )
    return source.replace("#h(0em)", "thick").replace("#h(-1em)", "#h(-0.167em)")


# --- fonts -----------------------------------------------------------------------------------------------------------


@functools.cache
def font_files() -> list[Path]:
    """The fonts of the report: Noto CJK first, then emoji, symbols and other scripts."""
    files = []
    for package, folder in (("mplfonts", "fonts"), ("manimgx_fonts", ".")):
        found = importlib.util.find_spec(package)
        if found is None:
            raise LabError(f"找不到字体包{package}，PDF里的字会成为空框：请重新安装依赖（uv sync）。")
        files += sorted((Path(found.submodule_search_locations[0]) / folder).glob("*.[ot]tf"))
    return sorted(files, key=lambda file: (file.name != "NotoSansCJKsc-Regular.otf", "Emoji" not in file.name))


@functools.cache
def characters(file: Path) -> frozenset[int]:
    """The code points that a font has a glyph for."""
    from fontTools.ttLib import TTFont

    return frozenset(TTFont(file, lazy=True).getBestCmap())


def by_font(content: str) -> dict[Path | None, set[str]]:
    """The characters of ``content`` by the first font that has them; under None those without a glyph."""
    shown = {char for char in set(content) if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Mn")}
    found: dict[Path | None, set[str]] = {}
    for char in shown:
        file = next((file for file in font_files() if ord(char) in characters(file)), None)
        found.setdefault(file, set()).add(char)
    return found


def font_face(page: str) -> str:
    """The CSS of fonts that hold just the characters of ``page``, for readers whose system has no such font."""
    from fontTools import subset

    faces = []
    for file, chars in by_font("".join(char for char in set(page) if ord(char) > 127)).items():
        if file is None:
            continue
        options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
        font = subset.load_font(file, options)
        font.recalcTimestamp = False  # the same page gives the same bytes
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(sorted(chars)))
        subsetter.subset(font)
        content = io.BytesIO()
        subset.save_font(font, content, options)
        address = f"data:font/woff;base64,{base64.b64encode(content.getvalue()).decode()}"
        points = ",".join(f"U+{ord(char):X}" for char in sorted(chars))
        faces.append(f'@font-face{{font-family:"Lab CJK";src:url({address});unicode-range:{points}}}')
    return "\n".join(sorted(faces))
