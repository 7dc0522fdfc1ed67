"""JupyterLab as a student meets it, in a real Chromium: first page, runs, saving, reopening, exports."""

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

import docx
import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from safetensors import safe_open

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="没有Chromium")
TOKEN = "browser-test"
STATE = ".jp-Notebook-ExecutionIndicator"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """`lab start` in a home of its own; returns its address and the working copy."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "lab",
        "start",
        "--no-browser",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    command += ["--ServerApp.allow_root=True", "--ServerApp.open_browser=False"]
    folders = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    env = os.environ | folders | dict(LAB_HOME=str(home), OMP_NUM_THREADS="1")
    env.pop("LAB_DATA", None)
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1).read()
                break
            except OSError:
                time.sleep(0.25)
        yield address, home
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport=dict(width=1300, height=1000))
    context.set_default_timeout(60_000)
    page = context.new_page()
    yield page
    context.close()


def open_notebook(page, desk, name):
    page.goto(f"{desk[0]}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("| 空闲").wait_for()  # the kernel is there
    page.wait_for_timeout(500)


def run_all(page, seconds=150):
    """Press the toolbar's "restart and run all" and wait for the end."""
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_selector(f"{STATE}[data-status=busy]")
    page.wait_for_selector(f"{STATE}[data-status=idle]", timeout=seconds * 1000)


def menu(page, *names):
    """Choose an entry of the menus, from the menu bar on."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{names[0]}$")).click()
    for name in names[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(name)).last.click()


def save(page, desk, name) -> dict:
    """Save the notebook; returns what is on the disk."""
    path = desk[1] / "work" / name
    before = path.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(150):
        with contextlib.suppress(ValueError):  # half written
            if path.stat().st_mtime_ns != before:
                return json.loads(path.read_text(encoding="utf-8"))
        time.sleep(0.1)
    raise TimeoutError(name)


def set_parameters(desk, name, **values):
    """Change lines of the parameters cell in the working copy, as a student would."""
    path = desk[1] / "work" / name
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
    text = "".join(cell["source"])
    for key, value in values.items():
        text, found = re.subn(rf"^({key}: \w+ = )[^#\n]*", rf"\g<1>{value!r}  ", text, flags=re.MULTILINE)
        assert found == 1
    cell["source"] = text
    path.write_text(json.dumps(notebook), encoding="utf-8")


def shown_pictures(page) -> int:
    """How many pictures there are, each of them loaded; the page is walked through, as cells are drawn when they are seen."""
    found = set()
    for _ in range(60):
        for picture in page.locator(".jp-OutputArea-output img").all():
            if picture.evaluate("image => image.complete && image.naturalWidth > 0 && image.offsetWidth > 0"):
                found.add(picture.get_attribute("src")[-200:])
        at_end = page.locator(".jp-WindowedPanel-outer").first.evaluate(
            "panel => { const end = panel.scrollTop + panel.clientHeight + 5 > panel.scrollHeight; panel.scrollTop += 700; return end }"
        )
        page.wait_for_timeout(120)
        if at_end:
            break
    return len(found)


def figures_in(notebook: dict) -> int:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def check(page, desk, name, notebook):
    """Reopen a saved notebook: no error, no dead widget, every figure there."""
    errors = [
        output for cell in notebook["cells"] for output in cell.get("outputs", []) if output["output_type"] == "error"
    ]
    assert not errors
    open_notebook(page, desk, name)
    assert shown_pictures(page) >= figures_in(notebook) > 0
    assert page.get_by_text("model not found").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


def shot(page, name):
    if folder := os.environ.get("LAB_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_first_page_trains_a_model_in_two_clicks(page, desk):
    open_notebook(page, desk, "00_start.ipynb")
    assert page.get_by_text("文件", exact=True).first.is_visible()  # JupyterLab itself is Chinese
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    page.get_by_role("button", name="用内置样例训练第一个模型").click()
    page.get_by_text(re.compile("模型lstm-1x1-100d-s2077已训练好，测试准确率")).wait_for(timeout=120_000)
    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("读完时正面的概率是").wait_for(timeout=60_000)  # by the model that comes with the project
    shot(page, "first")
    assert (desk[1] / "runs" / "sample" / "results" / "lstm-1x1-100d-s2077.json").is_file()


def test_notebooks_run_and_are_whole_when_reopened(page, desk):
    small = dict(DATASET="sample", HIDDEN_DIM=8)
    plans = {
        "01_data_prep.ipynb": dict(DATASET="sample"),
        "03_train.ipynb": small | dict(N_EPOCHS=2),
        "04_language_model.ipynb": small | dict(MAX_TOKENS=60_000),
        "05_results.ipynb": dict(DATASET="sample"),
    }
    for name, parameters in plans.items():
        set_parameters(desk, name, **parameters)
        open_notebook(page, desk, name)
        run_all(page)
        if name.startswith("03"):
            box = page.get_by_role("button", name="判断这篇影评")
            box.scroll_into_view_if_needed()
            page.locator(".jp-OutputArea textarea").fill("A wonderful film, and never boring.")
            box.click()
            page.locator(
                ".jp-RenderedHTML p", has_text=re.compile(r"^a wonderful film , and never boring \.$")
            ).wait_for()
            shot(page, "review")
        notebook = save(page, desk, name)
        check(page, desk, name, notebook)
        shot(page, name[:2])
        if name.startswith("03"):
            assert (
                page.get_by_text("读完时正面的概率是").count() == 1
            )  # the review that was typed, saved with the notebook


def test_a_notebook_from_papermill_shows_its_figures_untrusted(page, desk):
    command = [sys.executable, "-m", "papermill", "01_data_prep.ipynb", "elsewhere.ipynb", "-p", "DATASET", "sample"]
    env = os.environ | dict(LAB_HOME=str(desk[1]))
    subprocess.run(command, cwd=desk[1] / "work", env=env, check=True, capture_output=True)
    notebook = json.loads((desk[1] / "work" / "elsewhere.ipynb").read_text(encoding="utf-8"))
    check(page, desk, "elsewhere.ipynb", notebook)


def errors_in(notebook: dict) -> list[list[str]]:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [output["traceback"] for output in outputs if output["output_type"] == "error"]


def test_an_interrupted_run_says_one_line_and_goes_on(page, desk):
    name, folder = "03_train.ipynb", desk[1] / "runs" / "sample" / "rnn-1x1-100d-s2077-h8-e30"
    set_parameters(desk, name, DATASET="sample", HIDDEN_DIM=8, N_EPOCHS=30)
    open_notebook(page, desk, name)
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.locator("pre", has_text=re.compile(r"[3-9]/30")).first.wait_for(timeout=120_000)
    page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    page.wait_for_selector(f"{STATE}[data-status=idle]")
    assert errors_in(save(page, desk, name)) == [["已停止；再次运行会从停下的地方继续。"]]
    with safe_open(folder / "checkpoint.safetensors", "np") as file:
        before = json.loads(file.metadata()["history"])
    assert 3 <= len(before) < 30
    run_all(page)
    assert errors_in(save(page, desk, name)) == []
    result = json.loads((desk[1] / "runs/sample/results" / f"{folder.name}.json").read_text(encoding="utf-8"))
    assert result["history"][: len(before)] == before  # the times too: none of these epochs ran twice
    assert len(result["history"]) == 30


def test_a_corrected_slip_is_gone(page, desk):
    name = "03_train.ipynb"
    set_parameters(desk, name, DATASET="sample", HIDDEN_DIM=8, N_EPOCHS=2)
    open_notebook(page, desk, name)
    cell = page.locator(".jp-CodeCell", has_text="DATASET: str").locator(".cm-content")

    def run_with(*keys):
        cell.click()
        for key in ("Control+End", *keys):
            page.keyboard.press(key)
        if not keys:
            page.keyboard.insert_text("\nN_LAYER = 2")
        menu(page, "运行", "^运行所有单元格")
        page.wait_for_selector(f"{STATE}[data-status=busy]")
        page.wait_for_selector(f"{STATE}[data-status=idle]", timeout=120_000)
        return errors_in(save(page, desk, name))

    [[line]] = run_with()
    assert line.startswith("错误：没有名为N_LAYER的参数。是不是想写N_LAYERS？")
    assert run_with("Shift+Home", "Backspace", "Backspace") == []


def exported(page, kind: str) -> bytes:
    """What the file menu's entry of a kind downloads."""
    with page.expect_download() as download:
        menu(page, "文件", "保存并导出笔记本为", f"^Lab_{kind}")
    return Path(download.value.path()).read_bytes()


def test_the_menus_exports_hold_the_same(page, desk):
    open_notebook(page, desk, "05_results.ipynb")
    page_text = BeautifulSoup(exported(page, "html"), "html.parser")
    pdf_text = squeezed("".join(each.extract_text() for each in PdfReader(io.BytesIO(exported(page, "pdf"))).pages))
    answer = page.request.get(f"{desk[0]}/nbconvert/lab_docx/05_results.ipynb?download=true&token={TOKEN}")
    word = squeezed("".join(each.text for each in docx.Document(io.BytesIO(answer.body())).paragraphs))
    titles = [squeezed(title.get_text()) for title in page_text.select("h2, h3")]
    captions = [squeezed(caption.get_text()) for caption in page_text.select("figcaption")]
    assert len(titles) > 10
    assert len(captions) > 10
    for text in titles:
        assert text in pdf_text, text
        assert re.sub(r"^[\d.]+", "", text) in word, text
    for text in captions:  # a formula is set as a picture of its own
        assert text[:8] in pdf_text, text
    assert page_text.select("img, svg")


def squeezed(text: str) -> str:
    """The text without blanks, which every form sets as it likes."""
    return re.sub(r"\s|\u200b", "", text)
