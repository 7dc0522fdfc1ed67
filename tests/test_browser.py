"""JupyterLab as a student meets it, in a real Chromium: first page, runs, saving, reopening, exports.

One server, one window: the notebooks run beside each other in its tabs, are saved, and are opened again by a fresh window
when their kernels are gone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import docx
import pytest
from bs4 import BeautifulSoup
from export.reading import squeeze
from pypdf import PdfReader
from safetensors import safe_open

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="没有Chromium")
TOKEN = "browser-test"
SMALL = dict(DATASET="sample", HIDDEN_DIM=8)
PLANS = {  # the parameters with which each notebook runs; the longest first
    "04_language_model.ipynb": SMALL | dict(MAX_TOKENS=60_000),
    "05_results.ipynb": dict(DATASET="sample"),
    "03_train.ipynb": SMALL | dict(N_EPOCHS=2),
    "01_data_prep.ipynb": dict(DATASET="sample"),
}
PROMPTS = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputPrompt"
# Whether cells of the notebook in front have run, and none waits: one that waits has [*] in front, one that a failure left
# out keeps [ ].
HAVE_RUN = r"""prompts => {
    const texts = [...document.querySelectorAll(prompts)].map(prompt => prompt.textContent);
    return texts.some(text => /\d/.test(text)) && !texts.some(text => text.includes("*"));
}"""
# Whether each picture in the outputs of the notebook in front has been drawn, by the cell it is in.
PICTURES = """panel => [...panel.querySelectorAll(".jp-Cell")].map(cell =>
    [...cell.querySelectorAll(".jp-OutputArea-output img")].map(image =>
        image.complete && image.naturalWidth > 0 && image.offsetWidth > 0))"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """`lab start` in a home of its own: its address and environment, the home, and the working copy."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lab", "start", "--no-browser", f"--port={port}", "--ServerApp.allow_root=True"]
    folders = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    env = os.environ | folders | dict(LAB_HOME=str(home), OMP_NUM_THREADS="1")
    env.pop("LAB_DATA", None)
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen([*command, f"--IdentityProvider.token={TOKEN}"], env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1).read()
                break
            except OSError:
                time.sleep(0.25)
        yield SimpleNamespace(address=address, env=env, home=home, work=home / "work")
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page(desk):
    """The window, at the first page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = chromium.new_context(viewport=dict(width=1300, height=1000))
        context.set_default_timeout(120_000)
        page = context.new_page()
        open_window(page, desk)
        yield page
        chromium.close()


def open_window(page, desk):
    page.goto(f"{desk.address}/lab/tree/00_start.ipynb?token={TOKEN}&reset")
    wait_for_kernel(page)


def wait_for_kernel(page):
    """Until then JupyterLab drops what is to run."""
    panel(page).locator(".jp-Toolbar-kernelName", has_text="Python 3").wait_for()
    panel(page).locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()


def panel(page):
    """The notebook in front."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")


def open_notebook(page, name):
    page.locator(".jp-DirListing-item", has_text=name).dblclick()
    page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab.lm-mod-current", has_text=name).wait_for()
    wait_for_kernel(page)


def menu(page, *names):
    """Choose an entry of the menus, from the menu bar on."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{names[0]}$")).click()
    for name in names[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(name)).last.click()


def run_all(page):
    """Choose Run All for the notebook in front, whose numbers of an earlier run are wiped out."""
    page.locator(PROMPTS).evaluate_all("prompts => prompts.forEach(prompt => prompt.textContent = '')")
    menu(page, "运行", "^运行所有单元格")


def wait_for_end(page):
    page.wait_for_function(HAVE_RUN, arg=PROMPTS)


def save(page, desk, name) -> dict:
    """Save the notebook in front; returns what is on the disk."""
    path = desk.work / name
    before = path.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(300):
        with contextlib.suppress(ValueError):  # half written
            if path.stat().st_mtime_ns != before:
                return json.loads(path.read_text(encoding="utf-8"))
        time.sleep(0.1)
    raise TimeoutError(name)


def set_parameters(desk, name, **values):
    """Change lines of the parameters cell in the working copy, as a student would."""
    path = desk.work / name
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
    text = "".join(cell["source"])
    for key, value in values.items():
        text, found = re.subn(rf"^({key}: \w+ = )[^#\n]*", rf"\g<1>{value!r}  ", text, flags=re.MULTILINE)
        assert found == 1
    cell["source"] = text
    path.write_text(json.dumps(notebook), encoding="utf-8")


def outputs_in(notebook: dict) -> list[dict]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def errors_in(notebook: dict) -> list[list[str]]:
    return [output["traceback"] for output in outputs_in(notebook) if output["output_type"] == "error"]


def pictures_in(cell: dict) -> int:
    """How many pictures a saved cell has: figures, and those within the HTML of a progress."""
    shown = [output.get("data", {}) for output in cell.get("outputs", [])]
    return sum("image/png" in data or "<img" in "".join(data.get("text/html", "")) for data in shown)


def check(page, name, notebook):
    """Open a saved notebook: it had run to its end, no error, no dead widget, every picture is drawn in its place."""
    assert not errors_in(notebook)
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    open_notebook(page, name)
    drawn = [[True] * pictures_in(cell) for cell in notebook["cells"]]
    assert sum(map(len, drawn)) > 0
    for _ in range(100):  # JupyterLab makes the cells of a long notebook one after the other
        if panel(page).evaluate(PICTURES) == drawn:
            break
        page.wait_for_timeout(100)
    assert panel(page).evaluate(PICTURES) == drawn
    assert panel(page).get_by_text("model not found").count() == 0
    assert panel(page).locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


@pytest.fixture(scope="module")
def first_model(page, desk):
    """The first page's button has prepared the sample and trained a model."""
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    page.get_by_role("button", name="用内置样例训练第一个模型").click()
    page.get_by_text(re.compile("模型lstm-1x1-100d-s2077已训练好，测试准确率")).wait_for()


def test_first_page_trains_a_model_in_two_clicks(page, desk, first_model):
    assert page.get_by_text("文件", exact=True).first.is_visible()  # JupyterLab itself is Chinese
    assert (desk.home / "runs" / "sample" / "results" / "lstm-1x1-100d-s2077.json").is_file()
    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("读完时正面的概率是").wait_for()  # by the model that comes with the project


@pytest.fixture(scope="module")
def saved(page, desk, first_model):
    """The notebooks by name, as saved after Run All; the window is a new one, and no kernel is left."""
    command = [sys.executable, "-m", "papermill", "01_data_prep.ipynb", "elsewhere.ipynb", "-p", "DATASET", "sample"]
    elsewhere = subprocess.Popen(command, cwd=desk.work, env=desk.env, stderr=subprocess.DEVNULL)
    for name, parameters in PLANS.items():
        set_parameters(desk, name, **parameters)
        open_notebook(page, name)
        run_all(page)
    notebooks = {}
    for name in reversed(PLANS):
        open_notebook(page, name)
        wait_for_end(page)
        if name.startswith("03"):
            box = panel(page).get_by_role("button", name="判断这篇影评")
            panel(page).locator("textarea").fill("A wonderful film, and never boring.")
            box.click()
            judged = panel(page).locator(".jp-RenderedHTML p")
            judged.filter(has_text=re.compile(r"^a wonderful film , and never boring \.$")).wait_for()
        notebooks[name] = save(page, desk, name)
    assert elsewhere.wait() == 0
    notebooks["elsewhere.ipynb"] = json.loads((desk.work / "elsewhere.ipynb").read_text(encoding="utf-8"))
    page.goto("about:blank")
    for session in page.request.get(f"{desk.address}/api/sessions?token={TOKEN}").json():
        page.request.delete(f"{desk.address}/api/sessions/{session['id']}?token={TOKEN}")
    open_window(page, desk)
    return notebooks


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_notebook_that_ran_is_whole_when_reopened(page, saved, name):
    check(page, name, saved[name])
    if name.startswith("03"):  # the review that was typed, saved with the notebook
        assert panel(page).get_by_text("读完时正面的概率是").count() == 1


def test_a_notebook_from_papermill_shows_its_figures_untrusted(page, saved):
    check(page, "elsewhere.ipynb", saved["elsewhere.ipynb"])
    assert page.locator(".jp-StatusItem-trust [data-icon='ui-components:not-trusted']").is_visible()


@pytest.fixture(scope="module")
def exports(page, saved) -> dict[str, bytes]:
    """What the file menu's entries of the lab download of the report."""
    open_notebook(page, "05_results.ipynb")
    files = {}
    for kind in ("html", "pdf", "docx"):
        with page.expect_download() as download:
            menu(page, "文件", "保存并导出笔记本为", f"^Lab_{kind}")
        files[kind] = Path(download.value.path()).read_bytes()
    return files


def test_the_menus_exports_hold_the_same(exports):
    soup = BeautifulSoup(exports["html"], "html.parser")
    pdf = squeeze("".join(each.extract_text() for each in PdfReader(io.BytesIO(exports["pdf"])).pages))
    word = squeeze("".join(each.text for each in docx.Document(io.BytesIO(exports["docx"])).paragraphs))
    titles = [squeeze(title.get_text()) for title in soup.select("h2, h3")]
    captions = [squeeze(caption.get_text()) for caption in soup.select("figcaption")]
    assert len(titles) > 10
    assert len(captions) > 10
    for text in titles:
        assert text in pdf, text
        assert re.sub(r"^[\d.]+", "", text) in word, text
    for text in captions:  # a formula is set as a picture of its own
        assert text[:8] in pdf, text


def test_the_exported_page_shows_every_picture_and_loads_nothing(page, saved, exports, tmp_path):
    path, asked = tmp_path / "report.html", []
    path.write_bytes(exports["html"])
    window = page.context.new_page()
    window.on("request", lambda request: asked.append(request.url))
    window.goto(path.as_uri())
    wide = window.locator("figure img, figure svg").evaluate_all("all => all.map(each => each.clientWidth > 100)")
    window.close()
    assert wide == [True] * sum(map(pictures_in, saved["05_results.ipynb"]["cells"]))
    assert asked == [path.as_uri()]


def type_parameter(page, *keys, line=""):
    """Press keys at the end of the parameters cell of 03, and write a line there."""
    panel(page).locator(".jp-CodeCell", has_text="DATASET: str").locator(".cm-content").click()
    for key in ("Control+End", *keys):
        page.keyboard.press(key)
    page.keyboard.insert_text(line)


def test_a_corrected_slip_is_gone(page, desk, saved):
    open_notebook(page, "03_train.ipynb")
    type_parameter(page, line="\nN_LAYER = 2")
    run_all(page)
    wait_for_end(page)
    [[line]] = errors_in(save(page, desk, "03_train.ipynb"))
    assert line.startswith("错误：没有名为N_LAYER的参数。是不是想写N_LAYERS？")
    assert panel(page).get_by_text(line).is_visible()
    type_parameter(page, "Shift+Home", "Backspace", "Backspace")
    run_all(page)
    wait_for_end(page)
    assert errors_in(save(page, desk, "03_train.ipynb")) == []
    assert panel(page).get_by_text(line).count() == 0


def test_an_interrupted_run_says_one_line_and_goes_on(page, desk, saved):
    folder = desk.home / "runs" / "sample" / "rnn-1x1-100d-s2077-h8-e100"
    open_notebook(page, "03_train.ipynb")
    type_parameter(page, line="\nN_EPOCHS = 100")
    run_all(page)
    panel(page).locator("pre", has_text=re.compile(r"[3-9]/100")).first.wait_for()
    panel(page).locator("[data-command='notebook:interrupt-kernel']").click()
    wait_for_end(page)
    assert errors_in(save(page, desk, "03_train.ipynb")) == [["已停止；再次运行会从停下的地方继续。"]]
    with safe_open(folder / "checkpoint.safetensors", "np") as file:
        history = json.loads(file.metadata()["history"])
    assert 3 <= len(history) < 100
    run_all(page)
    wait_for_end(page)
    assert errors_in(save(page, desk, "03_train.ipynb")) == []
    result = json.loads((desk.home / "runs/sample/results" / f"{folder.name}.json").read_text(encoding="utf-8"))
    assert result["history"][: len(history)] == history  # the times too: none of these epochs ran twice
    assert len(result["history"]) == 100
