"""The student's desk: a working copy of the notebooks, and JupyterLab over it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab import files

FIRST = "00_start.ipynb"  # holds nothing of the student's: always today's
GIVEN = ".given.json"  # name -> digest of what was copied
WIDGET = "application/vnd.jupyter.widget-view+json"
GONE = "<p>这里有一个交互控件，从头运行本笔记本后才会出现。</p>"
# Of rendered code the lines stay whole, of tables the heads; comments on dark ground reach a contrast of 4.5:1.
STYLE = """body .jp-RenderedMarkdown pre { overflow-x: auto; font-size: 12px; line-height: 1.5 }
body .jp-RenderedMarkdown pre, body .jp-RenderedMarkdown pre * { white-space: pre !important; word-break: normal }
body .jp-RenderedHTMLCommon th { white-space: nowrap }
body[data-jp-theme-light="false"] { --jp-mirror-editor-comment-color: #8fb8b8 }
"""
# JupyterLab's own settings, for this desk only: its language, long lines of code broken, and no question about news.
SETTINGS = {
    "translation-extension/plugin": {"locale": "zh_CN"},
    "notebook-extension/tracker": {"codeCellConfig": {"lineWrap": True}},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def copy_notebooks(folder: Path) -> list[str]:
    """Bring the working copy up to date without touching what the student changed; returns what to tell.

    A newer version of a notebook that has been changed (or only run) is put beside it as ``03_train.新版.ipynb``.
    """
    files.make_folder(folder)
    given = files.read_json(folder / GIVEN) if (folder / GIVEN).is_file() else {}
    told = []
    for source in sorted((files.PROJECT / "notebooks").glob("*.ipynb")):
        content, target = source.read_bytes(), folder / source.name
        new, mine = digest(content), digest(target.read_bytes()) if target.is_file() else None
        if mine is None or (source.name == FIRST and mine != new) or (mine == given.get(source.name) != new):
            write(target, content)
        elif mine != new != given.get(source.name):
            beside = target.with_suffix(".新版.ipynb")
            write(beside, content)
            told.append(f"{source.name}有新版，放在{beside.name}；你改过的{source.name}没有动。")
        given[source.name] = new
    files.write_json(folder / GIVEN, given)
    return told


def digest(content: bytes) -> str:
    """A short name for a content."""
    return hashlib.sha256(content).hexdigest()[:16]


def write(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with files.atomic_write(path) as file:
        file.write(content)


def without_widgets(model: dict, **_) -> None:
    """Jupyter's ``pre_save_hook``: a saved notebook shows a widget's last static output, not \"model not found\"."""
    if model["type"] != "notebook" or not isinstance(model.get("content"), dict):
        return
    for cell in model["content"].get("cells", []):
        for output in cell.get("outputs", []):
            if output.get("data", {}).pop(WIDGET, None) is not None:
                output["data"] = {"text/html": GONE, "text/plain": "（交互控件）"}
    model["content"].get("metadata", {}).pop("widgets", None)


def start(folder: Path, arguments: list[str]) -> None:
    """Open JupyterLab, in Chinese, at the first page of the working copy; ``arguments`` are JupyterLab's own."""
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp
    from traitlets import default

    settings = folder / ".jupyter"
    write(settings / "custom" / "custom.css", STYLE.encode())
    for name, content in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        if not path.is_file():
            files.write_json(path, content)
    options = {
        "ServerApp.root_dir": folder,
        "LabApp.default_url": f"/lab/tree/{FIRST}",
        "LabApp.user_settings_dir": settings,
        "LabApp.custom_css": True,
        "FileContentsManager.pre_save_hook": f"{__name__}.{without_widgets.__name__}",
    }

    class Server(ServerApp):
        """With this desk's style before the user's own."""

        @default("static_custom_path")
        def _with_style(self):
            return [str(settings / "custom"), str(Path(self.config_dir) / "custom")]

    class Desk(LabApp):
        serverapp_class = Server

    Desk.launch_instance(argv=[*(f"--{name}={value}" for name, value in options.items()), *arguments])
