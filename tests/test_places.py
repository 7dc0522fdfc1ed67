"""The lab elsewhere than in a writable clone: read-only project and HOME, and an installation from the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from lab.files import PROJECT

TRAIN = ["-m", "lab", "train", "--dataset", "sample", "-p", "N_EPOCHS", "1"]


def test_read_only_project_and_home(tmp_path):
    """A mount namespace shows the project read-only, which the superuser cannot pass by either."""
    script = f'mount --bind "{PROJECT}" "{PROJECT}" && mount -o remount,ro,bind "{PROJECT}" && cd / && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount here")
    environment = {name: value for name, value in os.environ.items() if name != "LAB_HOME"} | {"HOME": "/proc/nobody"}
    refused = subprocess.run(
        [*inside, sys.executable, *TRAIN], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "LAB_HOME" in refused.stderr
    subprocess.run([*inside, sys.executable, *TRAIN], env=environment | {"LAB_HOME": str(tmp_path)}, check=True)
    assert (tmp_path / "runs/sample/results/rnn-1x1-100d-s2077-e1.json").is_file()
    assert (tmp_path / "data/cache/numba").is_dir()


def test_wheel_runs_from_any_folder(tmp_path):
    """It carries notebooks and templates: one cell of the grid, and its notebook as HTML."""
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, PROJECT], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "LAB_HOME": str(tmp_path / "home")}
    grid = ["grid", "--dataset", "sample", "--only", "rnn-1x1-100d*", "-p", "N_EPOCHS", "1"]
    executed = tmp_path / "home/runs/sample/rnn-1x1-100d-s2077-e1/03_train.ipynb"
    convert = ["jupyter", "nbconvert", "--to", "lab_html", "--output-dir", tmp_path, executed]
    for command in (["lab", *grid], convert):
        subprocess.run([sys.executable, "-m", *command], env=environment, cwd=tmp_path, check=True)
    assert "测试准确率" in (tmp_path / "03_train.html").read_text(encoding="utf-8")
