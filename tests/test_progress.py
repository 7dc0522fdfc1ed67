"""What a run shows in a notebook: one output that needs neither kernel nor widgets, and one line when it is stopped."""

from __future__ import annotations

import os
import queue
import re
import time

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbconvert import get_exporter

RUN = """
from lab.config import Config
from lab.training import runs
result = runs.run(Config(DATASET="sample", N_EPOCHS={epochs}))
"""


def test_a_run_is_one_output_that_needs_no_kernel(home):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(RUN.format(epochs=3))])
    NotebookClient(notebook, kernel_name="python3").execute()
    shown = [output for output in notebook.cells[0].outputs if "progress" in str(output.get("metadata"))]
    assert len(shown) == 1
    assert "application/vnd.jupyter.widget-view+json" not in str(notebook)
    assert {output.output_type for output in notebook.cells[0].outputs} == {"display_data"}
    text, page = shown[0].data["text/plain"], shown[0].data["text/html"]
    assert [line for line in text.splitlines() if "3/3" in line]
    assert not re.search("第.轮:", text)  # the epochs' own bars are gone
    assert '<img alt="到目前为止的损失" src="data:image/png;base64,' in page
    html, _ = get_exporter("lab_html")().from_notebook_node(notebook)
    assert "3/3" not in html


@pytest.fixture
def kernel(home):
    manager, client = start_new_kernel(kernel_name="python3", env=os.environ | {"OMP_NUM_THREADS": "1"})
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, wanted, timeout=120) -> list[dict]:
    """Messages until the first for which ``wanted`` is true."""
    found, end = [], time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            found.append(client.get_iopub_msg(timeout=5))
        except queue.Empty:
            continue
        if wanted(found[-1]):
            return found
    raise TimeoutError


def test_an_interrupt_is_one_line_and_the_next_run_goes_on(kernel):
    manager, client = kernel
    client.execute(RUN.format(epochs=400))
    outputs(client, lambda message: re.search(r"[3-9]/400", str(message["content"].get("data"))))
    manager.interrupt_kernel()
    error = outputs(client, lambda message: message["msg_type"] == "error")[-1]["content"]
    assert error["traceback"] == ["已停止；再次运行会从停下的地方继续。"]
    outputs(client, lambda message: message["content"].get("execution_state") == "idle")  # what comes sooner is aborted
    client.execute(RUN.format(epochs=400))
    begun = outputs(client, lambda message: "/400" in str(message["content"].get("data")))[-1]["content"]["data"]
    assert int(begun["text/plain"].split("/400")[0].rsplit(maxsplit=1)[-1]) >= 3
    manager.interrupt_kernel()
