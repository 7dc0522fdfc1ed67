"""The notebooks: committed without outputs, parameters as documented, and run for real by papermill."""

from __future__ import annotations

import ast
import re

import nbformat
import papermill
import pytest

from lab.config import LANGUAGE_PARAMETERS, PARAMETERS
from lab.files import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]
STEPS = NOTEBOOKS[1:]  # the first page has no parameters
TINY = dict(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=2)


def parameters_cell(path) -> str:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    return cells[0].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell.cell_type == "markdown" or len(cell.source.splitlines()) <= 24


@pytest.mark.parametrize("path", STEPS, ids=NAMES[1:])
def test_every_parameter_has_help_and_the_packages_default(path):
    source = parameters_cell(path)
    for line in source.splitlines():
        assert re.fullmatch(r"[A-Z_]+: (int|float|bool|str) = .+  # .+", line), line
    values = {node.target.id: ast.literal_eval(node.value) for node in ast.parse(source).body}
    known = LANGUAGE_PARAMETERS if path.name.startswith("04") else PARAMETERS
    for name in set(values) & set(known):
        assert (name, values[name]) == (name, known[name].default)
    if path.name.startswith(("03", "04")):
        assert list(values)[: len(known)] == list(known)
    helped = {entry["name"]: entry["help"] for entry in papermill.inspect_notebook(str(path)).values()}
    assert set(helped) == set(values)
    assert all(helped.values())


def run(name, folder, parameters):
    """Execute a notebook from another working directory; returns it."""
    path = next(path for path in NOTEBOOKS if path.name.startswith(name))
    return papermill.execute_notebook(
        path, folder / path.name, parameters=parameters, cwd=folder, kernel_name="python3", progress_bar=False
    )


def text_of(notebook) -> str:
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parts += [output.get("text", ""), str(output.get("data", {}).get("text/markdown", ""))]
    return "\n".join(parts)


def test_data_notebook(corpus, tmp_path):
    text = text_of(run("01", tmp_path, dict(EMBEDDING_DIM=50, REVIEW=3)))
    assert "影评长度的分布" in text
    assert "11个词" in text  # the vector file of the tiny corpus


def test_training_notebook_then_results(corpus, tmp_path):
    text = text_of(run("03", tmp_path, TINY | dict(MODEL_BASE="lstm")))
    assert "测试准确率" in text
    assert (tmp_path / "home/report/results/aclImdb/lstm-1x1-50d-s2077-h8-b8-e2.json").is_file()
    text = text_of(run("05", tmp_path, {}))
    assert "未运行" in text


def test_language_model_notebook_then_a_classifier_that_starts_from_it(corpus, tmp_path):
    tiny = dict(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=4, BPTT_LEN=5, MAX_TOKENS=400, MODEL_BASE="lstm")
    text = text_of(run("04", tmp_path, tiny | dict(BEGINNING="A good")))
    assert "验证集困惑度" in text
    assert "三元语法模型（Kneser–Ney）" in text
    assert "\na good" in text
    run_id = "lm-lstm-1x1-50d-s2077-h8-b4-t5-m400"
    assert {path.stem for path in (tmp_path / "home/report/results/aclImdb").glob("*.json")} == {
        run_id,
        "lm-ngram-s2077",
    }
    run("03", tmp_path, TINY | dict(MODEL_BASE="lstm", PRETRAINED=run_id))
    assert (tmp_path / f"home/report/results/aclImdb/lstm-1x1-50d-s2077-h8-b8-e2-pre-{run_id}.json").is_file()


def test_language_model_notebook_refuses_an_empty_budget(corpus, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="错误：参数MAX_TOKENS的值0不可用"):
        run("04", tmp_path, dict(MAX_TOKENS=0))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (dict(N_LAYER=2), "没有名为N_LAYER的参数。是不是想写N_LAYERS？"),
        (dict(N_LAYERS="two"), "参数N_LAYERS的值'two'不可用：允许1到32的整数"),
        (dict(EMBEDDING_DIM=128), "参数EMBEDDING_DIM的值128不可用"),
    ],
)
def test_training_notebook_refuses_slips_before_training(corpus, tmp_path, parameters, reason):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run("03", tmp_path, parameters)
    last = [line for line in str(caught.value).splitlines() if line.strip()][-1]
    assert last.startswith("错误：" + reason)
    assert not (tmp_path / "home").exists()
