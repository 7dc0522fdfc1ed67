"""The benchmark runs whole on a tiny corpus, and what is derived from its file agrees with figures worked by hand."""

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner
from conftest import write_vectors

from lab import bench, files, machine
from lab.cli import main
from lab.config import Config
from lab.errors import LabError
from lab.results import charts, speed

MEASURED = {
    "steps": [
        *(dict(base="RNN", steps=steps, seconds=steps * 1e-4) for steps in (256, 300, 512)),
        *(dict(base="LSTM", steps=steps, seconds=steps**1.5) for steps in (128, 300, 512, 2048)),
    ],
    "packed_steps": [
        *(dict(base="RNN", steps=steps, seconds=steps * 2e-4) for steps in (256, 300)),
        *(dict(base="LSTM", steps=steps, seconds=steps**2) for steps in (128, 300)),
    ],
}


def test_exponent_and_speedup():
    assert speed.exponent(MEASURED, "RNN") == pytest.approx(1)
    assert speed.exponent(MEASURED, "LSTM") == pytest.approx(1.5)
    assert speed.speedup(MEASURED, "RNN") == pytest.approx(2)
    assert speed.speedup(MEASURED, "LSTM") == pytest.approx(300**0.5)


def test_elapsed_counts_overlaps_once_and_pauses_not():
    def result(end, seconds):
        return dict(finished=f"2026-01-01T00:{end:02}:00+00:00", seconds=seconds)

    assert bench.elapsed([]) == 0
    assert bench.elapsed([result(2, 120), result(3, 120), result(2, 60), result(10, 60)]) == 240


def test_a_grid_counts_on_the_machine_that_ran_it(corpus):
    here = machine.processor_name()
    for run_id, processor, seconds in (
        ("rnn-1x1-100d-s2077", here, 80.0),
        ("lstm-1x1-100d-s2077", "another", 10.0),
        ("rnn-1x1-100d-s2079", here, 60.0),
        ("rnn-1x1-100d-s2080-clip1", here, 20.0),  # no cell of the table
    ):
        result = dict(processor=processor, seconds=seconds, memory=10**9, finished="2026-01-01T00:05:00+00:00")
        files.write_json(files.result_path("aclImdb", run_id), result)
    expected = dict(seed=2079, cells=1, of=16, seconds=60.0, elapsed=60.0, memory=10**9)
    assert bench.whole_grid(Config()) == expected


def test_whole_run(corpus, monkeypatch):
    write_vectors(corpus / "glove.6B.100d.txt", 100)
    monkeypatch.setattr(bench, "STEPS", (8, 256, 300))
    monkeypatch.setattr(bench, "BATCH", 4)
    monkeypatch.setattr(bench, "SHAPES", bench.SHAPES[1:3])  # a process for each
    found = bench.run("aclImdb")
    assert speed.load() == [found]
    assert [row["steps"] for row in found["steps"] if row["base"] == "LSTM"] == [8, 256, 300]
    assert all(0 < row["seconds"] for row in found["steps"])
    assert [(row["base"], row["layers"], row["directions"]) for row in found["epochs"]] == [
        ("LSTM", 1, 1),
        ("RNN", 2, 2),
    ]
    assert all(
        row["measured"] <= row["batches"] and min(row["seconds"], row["portioned"]) > 0
        for row in found["packed_epochs"]
    )
    assert (found["grid"]["cells"], found["grid"]["of"]) == (0, 16)
    other = found | dict(processor="another")
    files.write_json(speed.path(), dict(schema=speed.SCHEMA, machines=[found | dict(grid=None), other]))
    again = bench.run("aclImdb", only="grid")
    assert again == found
    shown = CliRunner().invoke(main, ["bench", "--only", "grid"])
    assert shown.exit_code == 0, shown.exception
    assert shown.output.endswith(f"结果文件：{speed.path()}\n")
    machines = speed.load()
    assert machines == [found, other]
    assert speed.epoch_table(machines)["处理器"].tolist() == [found["processor"]] * 2 + ["another"] * 2
    monkeypatch.setattr(speed, "RECURRENCE", speed.RECURRENCE + 1)  # as if it had been written anew since
    assert speed.epoch_table(machines)["处理器"].iloc[-1] == "another（旧版代码）"
    with pytest.raises(LabError, match="lab bench"):
        bench.run("aclImdb", only="grid")
    assert not speed.table(machines).isna().any(axis=None)
    assert speed.grid_sentence(machines) == ""  # no machine has run the whole table
    grid = dict(seed=2079, cells=16, of=16, elapsed=5400.0, seconds=9000.0, memory=1.5e9)
    assert "（种子2079）共历时90分钟，各配置用时之和150分钟，单个进程的内存峰值1.50GB" in speed.grid_sentence(
        [found | dict(grid=grid)]
    )
    figure = charts.growth(machines)
    assert [len(axis.lines) for axis in figure.axes] == [4, 4]
    plt.close(figure)


@pytest.mark.parametrize(("patience", "measured"), [(0.0, []), (1e-9, []), (3600.0, [4, 64])])
def test_a_step_too_long_for_the_packed_path_is_left_out(monkeypatch, patience, measured):
    monkeypatch.setattr(speed, "PATIENCE", patience)
    monkeypatch.setattr(bench, "ENOUGH", 0.0)
    assert [row["steps"] for row in bench.packed_steps((4, 64), 2) if row["base"] == "LSTM"] == measured


@pytest.mark.parametrize(("only", "words"), [("stps", "steps"), ("grid", "lab bench")])
def test_nothing_to_measure_anew(corpus, only, words):
    write_vectors(corpus / "glove.6B.100d.txt", 100)
    assert speed.load() == []
    with pytest.raises(LabError, match=words):
        bench.run("aclImdb", only)
