"""A grid that is killed anywhere goes on and ends as one that was never disturbed."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
from conftest import timeless

from lab import files
from lab.config import Config
from lab.training import grid

KILLS = int(os.environ.get("LAB_KILLS", "2"))  # 20 for a thorough trial
CELLS = [Config(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=6, MODEL_BASE=base) for base in ("RNN", "LSTM")]
CODE = f"""
from lab.training import grid
from lab.config import Config
failures = grid.run([Config(**values) for values in {[config.as_dict() for config in CELLS]!r}], workers=2)
assert not failures, failures
"""


def start(home):
    environment = os.environ | {"LAB_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", CODE], env=environment, stderr=subprocess.DEVNULL)


def results(home):
    folder = home / "report/results/aclImdb"
    return {path.name: path for path in folder.glob("*.json") if path.name != "data.json"} if folder.is_dir() else {}


def kill(running, everything):
    """Kill the grid, or as in a power cut its kernels too."""
    victims = [psutil.Process(running.pid)]
    victims += victims[0].children(recursive=True) if everything else []
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    running.wait()


def test_killed_grid(corpus, tmp_path):
    began = time.monotonic()
    calm = tmp_path / "calm"
    assert start(calm).wait() == 0
    duration = time.monotonic() - began
    expected = {name: timeless(files.read_json(path)) for name, path in results(calm).items()}
    assert len(expected) == len(CELLS)

    rng, kills = random.Random(0), 0
    for home in map(tmp_path.joinpath, map(str, itertools.count())):
        seen: dict[str, int] = {}
        running = start(home)
        while running.poll() is None:
            try:
                running.wait(rng.uniform(0, duration) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                kills += 1
                kill(running, everything=kills % 2 == 0)
                for name, path in results(home).items():
                    seen.setdefault(name, path.stat().st_mtime_ns)
                running = start(home)
        assert running.returncode == 0
        assert {name: timeless(files.read_json(path)) for name, path in results(home).items()} == expected
        for name, written in seen.items():  # a finished cell was never run again
            assert results(home)[name].stat().st_mtime_ns == written
        stray = [path for path in home.rglob("*") if path.name.endswith(".part") or path.name.startswith("checkpoint")]
        assert not stray
        if kills == KILLS:
            break


def test_ctrl_c_ends_the_grid_with_its_kernels_and_the_next_start_goes_on(home):
    """The terminal's signal reaches the command alone: jupyter_client starts kernels in a session of their own."""
    command = [
        sys.executable,
        "-m",
        "lab",
        "grid",
        "--dataset",
        "sample",
        "--only",
        "*-1x1-100d*",
        "-p",
        "N_EPOCHS",
        "12",
    ]
    rng, stops = random.Random(1), 0
    while stops <= KILLS // 20:
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(2, 16))
        if running.poll() is not None:  # it was quicker
            assert running.returncode == 0
            for path in (home / "runs" / "sample").rglob("*-1x1-100d-s2077-e12*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        everything = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        running.send_signal(signal.SIGINT)
        stopped = time.monotonic()
        _, said = running.communicate(timeout=30)
        print(f"ended {time.monotonic() - stopped:.1f} s after Ctrl-C with {len(everything)} processes")
        if said.splitlines()[-1].startswith("配置: 100%"):  # it had just finished
            continue
        # Python ends by the signal itself where it came while an imported module executed text (namedtuple).
        assert running.returncode in (130, -signal.SIGINT), said
        assert said.splitlines()[-1] == "已停止；再次运行会从停下的地方继续。"
        assert not [process for process in everything if process.is_running()]
        stops += 1
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for path in (home / "runs/sample/results").glob("*-1x1-100d-s2077-e12.json"):
        assert [epoch["epoch"] for epoch in files.read_json(path)["history"]] == list(range(1, 13))


def test_two_grids_share_the_work(corpus, tmp_path):
    home = tmp_path / "shared"
    both = [start(home), start(home)]
    assert [grid_process.wait() for grid_process in both] == [0, 0]
    found = results(home)
    assert len(found) == len(CELLS)
    for path in found.values():
        history = files.read_json(path)["history"]
        assert [epoch["epoch"] for epoch in history] == list(range(1, 7))
    assert not list(home.rglob("*.part"))


def test_largest_first(corpus):
    shapes = [("RNN", 1, False), ("LSTM", 1, False), ("LSTM", 5, True), ("RNN", 2, False), ("RNN", 1, True)]
    cells = [
        Config(EMBEDDING_DIM=50, HIDDEN_DIM=8, MODEL_BASE=base, N_LAYERS=layers, BIDIRECTIONAL=bidirectional)
        for base, layers, bidirectional in shapes
    ]
    waiting, failures = grid.plan(cells)
    assert [cells.index(config) for config in waiting] == [2, 1, 4, 3, 0]
    assert not failures
