"""Seeds and sweeps of the command line: ranges, products, slips in one line before anything runs."""

from __future__ import annotations

import dask
import pytest
from click.testing import CliRunner

from lab import files
from lab.cli import main


def listed(*arguments):
    done = CliRunner().invoke(main, ["grid", "--dataset", "sample", "--dry-run", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_a_dry_run_lists_every_combination_and_what_is_finished(home):
    files.write_json(files.result_path("sample", "lstm-1x1-100d-s2078-h8"), dict(seconds=3600))
    lines = listed("--seed", "2077-2078", "--seed", "2078", "--sweep", "HIDDEN_DIM=8,16", "--only", "lstm-1x1-100d*")
    assert lines[:-1] == [
        "将运行　lstm-1x1-100d-s2077-h8",
        "将运行　lstm-1x1-100d-s2077-h16",
        "已完成　lstm-1x1-100d-s2078-h8",
        "将运行　lstm-1x1-100d-s2078-h16",
    ]
    assert lines[-1].startswith("共4次训练，还有3次未完成")
    assert not (home / "data").exists()


def test_two_sweeps_give_their_product(home):
    lines = listed("--sweep", "HIDDEN_DIM=8,16", "--sweep", "GRAD_CLIP=0,1", "--only", "rnn-1x1-100d*")
    names = [line.split("　")[1] for line in lines[:-1]]
    assert names == [f"rnn-1x1-100d-s2077-h{size}{clip}" for size in (8, 16) for clip in ("", "-clip1")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seed", "2081-2077"], "2077-2081"),
        (["--seed", "x"], "--seed的值'x'"),
        (["--sweep", "HIDDEN_DIM"], "HIDDEN_DIM=64,128"),
        (["--sweep", "HIDEN_DIM=8,16"], "是不是想写HIDDEN_DIM"),
        (["--sweep", "HIDDEN_DIM=8,sixteen"], "HIDDEN_DIM的值'sixteen'"),
        (["--sweep", "SEED=1,2"], "请用--seed"),
        (["--sweep", "N_LAYERS=1,2"], "--only"),
        (["--scheduler", "tcp://127.0.0.1:9"], "连不上dask调度器tcp://127.0.0.1:9"),
    ],
)
def test_slips_are_one_line(home, arguments, reason):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        done = CliRunner().invoke(main, ["grid", "--dataset", "sample", *arguments])
    assert done.exit_code == 1
    assert reason in done.stderr.splitlines()[-1]
