"""Where things live, and how files are written: atomically, through a temporary neighbour."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from lab.errors import LabError

# Where notebooks and templates lie: the project's folder, or what the wheel carries of it.
CARRIED = Path(__file__).resolve().parent / "_project"
PROJECT = CARRIED if CARRIED.is_dir() else CARRIED.parent.parent
# Where data lie and everything is written, unless LAB_HOME says otherwise.
BASE = Path.home() / "rnn-lab" if PROJECT == CARRIED else PROJECT


def home() -> Path:
    """Folder below which cache, runs and results are written."""
    return expanded(os.environ.get("LAB_HOME") or BASE).resolve()


def expanded(path: str | Path) -> Path:
    """A path with its ``~`` replaced; ``LabError`` where it names a user who is not here."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise LabError(
            f"路径{path}里的~没有对应的用户。请写出完整的路径（环境变量LAB_DATA、LAB_HOME或--data-dir）。"
        ) from None


def source_dir() -> Path:
    """Folder of the user's data (``LAB_DATA``); a relative one is tried from here, then from the project.

    Raises ``LabError`` where ``LAB_DATA`` names no folder.
    """
    given = os.environ.get("LAB_DATA")
    folder = expanded(given or BASE / "data")
    if not folder.is_absolute() and not folder.exists() and (BASE / folder).exists():
        folder = BASE / folder
    if given and not folder.is_dir():
        raise LabError(f"没有文件夹{given}（环境变量LAB_DATA）。请改正它，或先建立这个文件夹。")
    return folder.resolve()


def cache_dir(dataset: str) -> Path:
    """Folder of everything derived from the sources of ``dataset``."""
    return home() / "data" / "cache" / dataset


def runs_dir(dataset: str) -> Path:
    """Folder of weights, executed notebooks and everything else that git does not keep."""
    return home() / "runs" / dataset


def results_dir(dataset: str) -> Path:
    """Folder of result files: tracked for aclImdb, below ``runs/`` for the sample."""
    return runs_dir(dataset) / "results" if dataset == "sample" else home() / "report" / "results" / dataset


def result_path(dataset: str, name: str) -> Path:
    """The result file of a run or of another measurement."""
    return results_dir(dataset) / f"{name}.json"


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Fill a temporary folder beside ``path`` that takes its place on success and vanishes on failure.

    Where another process finished the same folder first, its content stays and ours is dropped.
    Raises ``LabError`` where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _part(path)
        temporary.mkdir()
        yield temporary
        for each in filter(Path.is_file, temporary.rglob("*")):
            with open(each, "rb") as file:
                os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except OSError:
            if not path.is_dir():  # else another was quicker
                raise
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> Path:
    """Make a folder with its parents where it is missing; ``LabError`` where nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not os.access(path, os.W_OK):
        raise _unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


def _unwritable(path: Path, error: OSError) -> LabError:
    reason = error.strerror or error
    return LabError(
        f"无法写入{path}：{reason}。请检查磁盘空间和写权限，或用环境变量LAB_HOME另指一个可写的文件夹；已有的文件没有改动。"
    )


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of ``path`` that takes its place on success and vanishes on failure.

    Raises ``LabError`` where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _part(path)
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """The temporary neighbour of ``path`` for this process; those that killed processes left behind are removed."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        import psutil

        if not psutil.pid_exists(int(left.suffixes[-2][1:].split("-")[0])):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an ``.npy`` file without objects; every failed write raises (``np.save`` misses a full disk at close)."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    path.write_bytes(content.getbuffer())


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; a broken one is a ``LabError`` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise LabError(f"文件{path}不是完整的JSON（{error}）。删除它后重新运行即可再生成。") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LabError(f"读不出{path}（{error.strerror}）。请检查它的读取权限，或移走它。") from error


def _refuse(constant: str):
    raise ValueError(f"含有{constant}")
