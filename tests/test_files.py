"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lab import files
from lab.errors import LabError


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "result.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"x": float("nan")})
    assert files.read_json(path) == {"x": 1}
    assert [each.name for each in path.parent.iterdir()] == ["result.json"]


def test_full_disk_is_one_chinese_line_and_leaves_nothing(tmp_path):
    def fill():
        with files.atomic_folder(tmp_path / "cache") as folder:
            np.save(folder / "a.npy", np.zeros(10))
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LabError, match=r"无法写入.*No space left.*磁盘空间"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_process_wins(tmp_path):
    with files.atomic_folder(tmp_path / "cache") as mine:
        (mine / "a").write_text("mine")
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "a").write_text("theirs")
    assert (tmp_path / "cache" / "a").read_text() == "theirs"
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]


def test_broken_json_names_the_file(tmp_path):
    (tmp_path / "half.json").write_text('{"x": ')
    with pytest.raises(LabError, match=r"half\.json"):
        files.read_json(tmp_path / "half.json")


def test_unreadable_json_is_one_line(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    for name in ("folder", "loop"):
        with pytest.raises(LabError, match=rf"读不出.*{name}\.json"):
            files.read_json(tmp_path / f"{name}.json")


def test_relative_data_folder_is_found_from_the_project_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_DATA", "notebooks")
    assert files.source_dir() == files.PROJECT / "notebooks"
    (tmp_path / "notebooks").mkdir()
    assert files.source_dir() == tmp_path / "notebooks"


def test_many_write_the_same_folder_at_once(tmp_path):
    together = threading.Barrier(8)

    def write(number):
        with files.atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "whose").write_text(str(number))
            together.wait()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "whose").read_text() in map(str, range(8))
