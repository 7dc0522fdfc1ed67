"""The working copy of the notebooks, and what JupyterLab saves of it."""

from __future__ import annotations

import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lab import files, start


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project's notebooks that the test may bring up to date."""
    shutil.copytree(files.PROJECT / "notebooks", tmp_path / "project" / "notebooks")
    monkeypatch.setattr(files, "PROJECT", tmp_path / "project")
    return tmp_path / "project" / "notebooks"


def append(path, text):
    path.write_bytes(path.read_bytes() + text)


def test_a_new_version_never_overwrites_what_was_changed(project, tmp_path):
    work = tmp_path / "work"
    assert start.copy_notebooks(work) == []
    assert {path.name for path in work.glob("*.ipynb")} == {path.name for path in project.glob("*.ipynb")}
    mine, untouched = work / "03_train.ipynb", work / "04_language_model.ipynb"
    append(mine, b" ")
    changed = mine.read_bytes()
    assert start.copy_notebooks(work) == []  # no newer version: nothing to tell
    for name in ("00_start", "03_train", "04_language_model"):
        append(project / f"{name}.ipynb", b"\n\n")
    assert start.copy_notebooks(work) == [
        "03_train.ipynb有新版，放在03_train.新版.ipynb；你改过的03_train.ipynb没有动。"
    ]
    assert mine.read_bytes() == changed
    assert (work / "03_train.新版.ipynb").read_bytes() == (project / "03_train.ipynb").read_bytes()
    assert untouched.read_bytes() == (project / "04_language_model.ipynb").read_bytes()
    assert (work / "00_start.ipynb").read_bytes() == (project / "00_start.ipynb").read_bytes()
    assert start.copy_notebooks(work) == []
    untouched.unlink()
    start.copy_notebooks(work)
    assert untouched.is_file()


def test_a_saved_notebook_has_no_dead_widget():
    widget = new_output("display_data", {start.WIDGET: {"model_id": "x"}, "text/plain": "VBox()"})
    result = new_output("display_data", {"text/html": "<p>words</p>"})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[widget, result])], metadata={"widgets": {"a": 1}})
    model = {"type": "notebook", "content": notebook}
    start.without_widgets(model)
    nbformat.validate(notebook)
    assert start.WIDGET not in str(notebook)
    assert notebook.cells[0].outputs[0].data["text/html"] == start.GONE
    assert notebook.cells[0].outputs[1].data["text/html"] == "<p>words</p>"
    assert "widgets" not in notebook.metadata
    start.without_widgets({"type": "file", "content": "text"})
