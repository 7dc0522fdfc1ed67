"""The ``lab`` command and what surrounds it: Chinese help, one-line errors, the environment's one list."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lab import files
from lab.cli import main
from lab.config import Config
from lab.errors import LabError
from lab.files import PROJECT
from lab.training import grid, runs

TINY = "-p EMBEDDING_DIM 50 -p HIDDEN_DIM 8 -p BATCH_SIZE 8 -p N_EPOCHS 2".split()


def lab(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_help_is_chinese():
    commands = main.commands
    assert {"prepare", "train", "grid", "report", "all", "predict"} <= set(commands)
    for name in commands:
        text = lab(name, "--help").output
        assert re.search("[一-鿿]", text.split("\n\n")[1])
        for option in commands[name].params:
            assert option.param_type_name == "argument" or option.help


def test_train_then_predict(corpus):
    done = lab("train", *TINY, "-p", "MODEL_BASE", "lstm")
    assert done.exit_code == 0, done.output
    assert "测试准确率" in done.output
    done = lab("predict", "A good film.")
    assert done.exit_code == 0, done.output
    assert re.search(r"正面的概率\d+\.\d%", done.output)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "-p", "N_LAYER", "2"], "N_LAYERS"),
        (["train", "-p", "DROPOUT", "1.5"], "1.5"),
        (["prepare", "--dataset", "imdb"], "imdb"),
        (["prepare", "--data-dir", "/nowhere/at/all"], "/nowhere/at/all"),
        (["grid", "--only", "gru*"], "gru"),
        (["grid", "-p", "N_LAYERS", "2"], "--only"),
        (["grid", "-p", "SEED", "1"], "--seed"),
        (["grid", "-p", "GRAD_CLAP", "1"], "GRAD_CLIP"),
        (["predict", "A film.", "--dataset", "sample"], "lab train"),
        (["report", "--dataset", "nothing"], "nothing"),
        (["prepare", "--data-dir", ""], "--data-dir"),
        (["train", "-p", "N_LAYERS", "2", "-p", "N_LAYERS", "3"], "参数N_LAYERS写了不止一次"),
        (["trian"], "没有命令trian。"),
        (["train", "--agian"], "没有选项--agian。是不是想写--again？"),
        (["train", "-p", "N_LAYERS"], "选项-p后面缺少值"),
        (["train", "N_LAYERS=2"], "N_LAYERS=2"),
        (["grid", "--workers", "two"], "--workers的值不可用"),
        (["evaluate"], "缺少folder"),
    ],
)
def test_errors_are_one_chinese_line(corpus, arguments, reason):
    done = subprocess.run([sys.executable, "-m", "lab.cli", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("错误：")
    assert reason in lines[0]


def test_grid_is_the_lab_sheets_16_cells():
    cells = grid.configs()
    assert len({config.run_id for config in cells}) == len(cells) == 16
    from lab.results.cells import REFERENCE

    assert {(c.MODEL_BASE, c.N_LAYERS, c.n_directions, c.EMBEDDING_DIM) for c in cells} == set(REFERENCE)
    assert [config.run_id for config in grid.select(cells, "lstm-1x*-300d*")] == [
        "lstm-1x1-300d-s2077",
        "lstm-1x2-300d-s2077",
    ]
    assert grid.configs(GRAD_CLIP=1.0)[0].run_id == "rnn-1x1-100d-s2077-clip1"


def test_grid_skips_finished_cells_and_reports_a_failing_one(corpus):
    cells = [
        Config(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=1, MODEL_BASE=base) for base in ("RNN", "LSTM")
    ]
    finished = runs.run(cells[0])
    broken = Config(EMBEDDING_DIM=300, N_EPOCHS=1)  # no such vectors here
    (corpus / "glove.6B.300d.txt").write_text("good 0.1\n")
    failures = grid.run([*cells, broken], workers=2)
    assert len(failures) == 1
    assert failures[0].startswith(broken.run_id)
    assert "第1行" in failures[0]
    assert files.read_json(files.result_path("aclImdb", cells[0].run_id)) == finished
    assert grid.is_finished(cells[1], grid.describe(cells[1]))
    assert (files.runs_dir("aclImdb") / cells[1].run_id / "03_train.ipynb").is_file()


def test_grid_names_results_that_stand_on_other_vectors(corpus):
    cell = Config(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=1)
    runs.run(cell)
    vectors = corpus / "glove.6B.50d.txt"
    vectors.write_text("".join(vectors.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(LabError, match=f"1个配置已有的结果来自别的影评、划分或词向量：{cell.run_id}。.*--again"):
        grid.run([cell])
    assert grid.run([cell], again=True) == []
    assert grid.is_finished(cell, grid.describe(cell))


def test_select_needs_a_match():
    with pytest.raises(LabError, match="rnn-1x1-100d-s2077"):
        grid.select(grid.configs(), "none")


def test_environment_has_no_second_list_of_dependencies():
    text = (PROJECT / "environment.yml").read_text(encoding="utf-8")
    entries = re.findall(r"^\s*- (.+)$", text, re.MULTILINE)
    assert entries == ["conda-forge", "python=3.11", "pip", "pip:", "-e ."]
    required = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10,<3.13"' in required  # 3.11 lies within
    given = "torch torchtext spacy jupyterlab nbconvert papermill matplotlib seaborn".split()
    assert all(re.search(rf'^    "{name}[=>]', required, re.MULTILINE) for name in given)
