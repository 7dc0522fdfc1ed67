"""Handed-in result files and handed-out notebooks."""

from __future__ import annotations

import ast
import json
import shutil

import nbformat
import pytest
from click.testing import CliRunner

from lab import classroom, files, record
from lab.cli import main
from lab.errors import LabError

RUN = "lstm-1x1-100d-s2077"


@pytest.fixture
def hand_in(home):
    """A tracked result and the class's data in a home of their own; returns the result's path."""
    folder = files.results_dir("aclImdb")
    folder.mkdir(parents=True)
    for name in (RUN, "data"):
        shutil.copy(files.PROJECT / "report" / "results" / "aclImdb" / f"{name}.json", folder)
    return folder / f"{RUN}.json"


def changed(path, change):
    result = json.loads(path.read_text(encoding="utf-8"))
    change(result)
    path.write_text(json.dumps(result), encoding="utf-8")
    return path


def test_a_consistent_file_passes(hand_in):
    line = classroom.verify(hand_in)
    assert line.startswith(f"{RUN}：前后一致，与本班的数据相符，测试准确率8")
    files.result_path("aclImdb", "data").unlink()
    assert "没有本班的数据可以比较" in classroom.verify(hand_in)


def flip(result):
    """More right answers than there were, the accuracy made to fit."""
    marks = record.right(result)
    marks[:] |= (~marks).cumsum() <= 100
    result["test"] |= dict(right=record.pack_bits(marks), accuracy=float(marks.mean()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result["test"].update(accuracy=0.95), "test.accuracy"),
        (flip, "100篇影评的对错与概率不符"),
        (lambda result: result["data"].update(fingerprint="0" * 12), "数据指纹"),
        (lambda result: result["config"].update(HIDDEN_DIM=128), "config"),
        (lambda result: result["history"][0].update(valid_loss=0.0), "best_epoch"),
    ],
)
def test_a_doctored_file_is_named(hand_in, change, message):
    with pytest.raises(LabError, match=message):
        classroom.verify(changed(hand_in, change))


def test_the_command_says_one_line_for_each(hand_in, tmp_path):
    done = CliRunner().invoke(main, ["verify", str(hand_in), str(tmp_path / "nothing.json")])
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith("相符　")
    assert lines[1].startswith("不符　没有文件")
    assert lines[2] == "错误：2个文件中有1个不符。"


def test_handout_blanks_solutions_and_nothing_else(tmp_path):
    copies = dict(classroom.handout(tmp_path / "class"))
    assert sum(copies.values()) >= 5
    for path in sorted((files.PROJECT / "notebooks").glob("*.ipynb")):
        ours, theirs = nbformat.read(path, 4), nbformat.read(tmp_path / "class" / path.name, 4)
        for mine, blanked in zip(ours.cells, theirs.cells, strict=True):
            if "BEGIN SOLUTION" not in mine.source:
                assert mine == blanked
                continue
            assert "SOLUTION" not in blanked.source
            assert "写你的" in blanked.source
            if mine.cell_type == "code":
                ast.parse(blanked.source)
                solution = mine.source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
                assert all(line not in blanked.source for line in solution.strip().splitlines() if len(line) > 5)
    with pytest.raises(LabError, match="已有笔记本"):
        classroom.handout(tmp_path / "class")
