"""Every test writes into its own folder; a tiny corpus in aclImdb's layout serves where the sample is too much."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lab import files

# Small tests gain nothing from threads, and several kernels at once would fight for the cores; tests/engine has two.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Corpora made for a test are not all of aclImdb.
os.environ["LAB_SMALL"] = "1"

# The user's real data, where LAB_DATA names a folder that has them; read before any test changes the variable.
REAL_DATA = files.source_dir() if os.environ.get("LAB_DATA") and list(files.source_dir().glob("aclImdb*")) else None

TIMES = {"seconds", "finished", "memory"}  # what a result file owes to the clock and the machine's load


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait, for a kernel to start, a scheduler or a browser."""
    return (os.cpu_count() or 1) + 1


GOOD = "good great lovely brilliant moving".split()
BAD = "bad awful boring dull terrible".split()
PLAIN = "the film is a story of two people in town and it was shot there".split()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The folder below which everything of this test is written."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAB_DATA", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def two_threads():
    """Two threads, as what the recurrence and the optimizer share among them needs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def write_corpus(folder: Path, per_class: int = 20, seed: int = 0) -> Path:
    """Write a corpus whose reviews hold a few words of their class among plain ones."""
    rng = random.Random(seed)
    for part in ("train", "test"):
        for name, words, rating in (("pos", GOOD, 9), ("neg", BAD, 2)):
            (folder / "aclImdb" / part / name).mkdir(parents=True)
            for number in range(per_class):
                tokens = rng.choices(PLAIN, k=rng.randint(2, 30)) + rng.choices(words, k=2)
                rng.shuffle(tokens)
                text = " ".join(tokens).capitalize() + f".<br /><br />It is number {part}{number}."
                (folder / "aclImdb" / part / name / f"{number}_{rating}.txt").write_text(text)
    (folder / "aclImdb" / "train" / "unsup").mkdir()
    (folder / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("A film of nobody.")
    return folder


def timeless(result: dict) -> dict:
    """The result without what depends on the clock."""
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in result["history"]]
    return {name: value for name, value in result.items() if name not in TIMES} | {"history": history}


def tracked_results() -> list[Path]:
    """The result files that git keeps; the test is skipped where this is no git checkout."""
    command = ["git", "ls-files", "report/results/aclImdb"]
    listed = subprocess.run(command, cwd=files.PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [files.PROJECT / name for name in listed.stdout.split()]


def write_vectors(path: Path, dim: int = 50, words: list[str] | None = None) -> Path:
    """Write word vectors in GloVe's text format."""
    rng = np.random.default_rng(1)
    lines = [
        f"{word} {' '.join(f'{value:.4f}' for value in rng.normal(size=dim))}" for word in words or GOOD + BAD + ["the"]
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def corpus(home, tmp_path, monkeypatch) -> Path:
    """A data folder with a tiny aclImdb and 50-dimensional vectors, set as ``LAB_DATA``."""
    folder = write_corpus(tmp_path / "given")
    write_vectors(folder / "glove.6B.50d.txt")
    monkeypatch.setenv("LAB_DATA", str(folder))
    return folder
