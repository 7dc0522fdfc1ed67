"""The programs and fonts behind the exporters, all from wheels: pandoc, Typst, Noto CJK."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.files import PROJECT

TEMPLATES = PROJECT / "report" / "templates"


def pandoc(content: str, source: str, target: str, *options: str) -> str:
    """Run the wheel's pandoc; a formula that it cannot read is a ``LabError``, not raw TeX in the report."""
    try:
        import pypandoc

        command = [pypandoc.get_pandoc_path(), "--from", source, "--to", target, "--wrap=none", *options]
        done = subprocess.run(command, input=content.encode(), capture_output=True, check=False)
    except (ImportError, OSError) as error:
        raise LabError("找不到pandoc：请重新安装依赖（uv sync，或pip install pypandoc_binary）。") from error
    messages = done.stderr.decode(errors="replace")
    if formula := re.search(r"Could not convert TeX math (.+?), rendering as TeX", messages, re.DOTALL):
        raise LabError(f"公式{formula[1]}不能排版：请检查其中的命令和括号。")
    if done.returncode:
        raise LabError(f"pandoc转换失败（退出码{done.returncode}）：{' '.join(messages.split())[:300]}")
    return done.stdout.decode()


def typeset(source: str, media: dict[str, bytes]) -> bytes:
    """Compile Typst source and pictures to a PDF with the wheels' fonts only."""
    import typst

    mplfonts = importlib.util.find_spec("mplfonts")
    if mplfonts is None:
        raise LabError("找不到字体包mplfonts，PDF里的汉字会成为空框：请重新安装依赖（uv sync）。")
    fonts = Path(mplfonts.submodule_search_locations[0]) / "fonts"
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in {**media, "report.typ": mend(source).encode()}.items():
                (Path(folder) / name).write_bytes(content)
            return typst.compile(f"{folder}/report.typ", root=folder, font_paths=[fonts], ignore_system_fonts=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise LabError(f"PDF排版失败（typst）：{str(error).splitlines()[0]}。网页版不受影响。") from error


def mend(source: str) -> str:
    r"""Correct what pandoc 3.9 writes for formulas and Typst 0.15 does not take; more of it stands in the template.

    The circled operators (``\odot``, …) have new names (jgm/pandoc#11591, jgm/texmath#287); the spaces ``\;`` and ``\!``
    come as whole numbers of em, rounded down.
    """
    source = re.sub(r"\b(dot|times|minus|dash)\.circle\b", r"\1.o", source)
    return source.replace("#h(0em)", "thick").replace("#h(-1em)", "#h(-0.167em)")


def font_face(page: str) -> str:
    """The CSS of a font that holds just the characters of ``page``, for readers whose system has no Chinese one."""
    from fontTools import subset

    from lab.export.figures import FONTS

    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
    font = subset.load_font(FONTS / "NotoSansCJKsc-Regular.otf", options)
    font.recalcTimestamp = False  # the same page gives the same bytes
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(sorted({char for char in page if ord(char) > 127})))
    subsetter.subset(font)
    content = io.BytesIO()
    subset.save_font(font, content, options)
    address = f"data:font/woff;base64,{base64.b64encode(content.getvalue()).decode()}"
    return f'@font-face{{font-family:"Lab CJK";src:url({address})}}'
