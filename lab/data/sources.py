"""Obtain the reviews and the word vectors: from the user's folder, else by download, else (sample) made here."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from lab import files
from lab.errors import LabError

# url, checksum, size in bytes
ACLIMDB = (
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "md5:7c2ac02c03563afcf9b574c7e56c153a",
    84_125_825,
)
GLOVE = (
    "https://nlp.stanford.edu/data/glove.6B.zip",
    "sha256:617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
    862_182_613,
)
ARCHIVES = ("aclImdb_v1.tar.gz", "aclImdb.tar.gz")
# part -> the folders it is made of, with the label that each stands for
FOLDERS = {
    "train": {"train/neg": 0, "train/pos": 1},
    "test": {"test/neg": 0, "test/pos": 1},
    "unsup": {"train/unsup": 0},
}
REVIEW_NAME = re.compile(r"(?:\./)?aclImdb/((?:train|test)/(?:neg|pos|unsup))/(\d+)_(\d+)\.txt")


class Review(NamedTuple):
    """One review file as it is on disk."""

    label: int  # 1 positive, 0 negative (and unlabelled)
    number: int  # the ID in ID_RATING.txt
    rating: int  # 1-4 or 7-10; 0 when unlabelled
    text: bytes


def find_reviews(dataset: str, download: bool = True) -> Path | None:
    """Return the folder ``aclImdb/`` or its archive; make the sample, download the real one where missing.

    Returns None where nothing is there and ``download`` is off; raises ``LabError`` where a download fails.
    """
    if dataset == "sample":
        return _sample_folder() / "aclImdb"
    for folder in _places():
        if (folder / "aclImdb").is_dir():
            return folder / "aclImdb"
        for name in ARCHIVES:
            if (folder / name).is_file():
                return folder / name
    return _download(*ACLIMDB) if download else None


def find_vectors(dataset: str, dim: int, download: bool = True) -> Path | None:
    """Return ``glove.6B.{dim}d.txt`` or ``glove.6B.zip``; None and errors as in ``find_reviews``."""
    name = f"glove.6B.{dim}d.txt"
    if dataset == "sample":
        return _sample_folder() / name
    for folder in _places():
        for candidate in (folder / name, folder / "glove.6B.zip"):
            if candidate.is_file():
                return candidate
    return _download(*GLOVE) if download else None


def signature(source: Path) -> str:
    """Hash of a source: the content of a file; names, sizes and times of the files in a folder."""
    digest = hashlib.sha256()
    if source.is_file():
        with open(source, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    else:
        for folder in sorted({name for part in FOLDERS.values() for name in part}):
            if (source / folder).is_dir():
                with os.scandir(source / folder) as entries:
                    facts = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)
                digest.update(f"{folder}{facts}".encode())
    return digest.hexdigest()


def read_reviews(source: Path, parts: tuple[str, ...]) -> dict[str, list[Review]]:
    """Read parts ('train', 'test', 'unsup') from folder or archive, each sorted by label, number, rating.

    An archive is read in memory and never unpacked; one that holds links or names that lead out of it is
    refused whole. Raises ``LabError`` with file and way out.
    """
    place = {folder: (part, label) for part in parts for folder, label in FOLDERS[part].items()}
    members = _archive_members(source) if source.is_file() else _folder_members(source, place)
    reviews: dict[str, list[Review]] = {part: [] for part in parts}
    seen = set()
    for folder, number, rating, text in members:
        if folder in place:
            part, label = place[folder]
            reviews[part].append(Review(label, number, rating, text))
            seen.add(folder)
    for folder in place:
        if folder not in seen:
            raise LabError(
                f"{source}中没有{folder}的影评（编号_评分.txt），不是完整的aclImdb。请换成官方的aclImdb_v1.tar.gz。"
            )
    return {part: sorted(found, key=lambda review: review[:3]) for part, found in reviews.items()}


def _folder_members(source: Path, folders) -> Iterator[tuple[str, int, int, bytes]]:
    for folder in folders:
        if not (source / folder).is_dir():
            continue
        for path in sorted((source / folder).iterdir()):
            if match := REVIEW_NAME.fullmatch(f"aclImdb/{folder}/{path.name}"):
                yield folder, int(match[2]), int(match[3]), path.read_bytes()


def _archive_members(source: Path) -> Iterator[tuple[str, int, int, bytes]]:
    try:
        with tarfile.open(source, "r|gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or member.issym() or member.islnk():
                    raise LabError(
                        f"压缩包{source}里的{member.name}是链接或指向包外的路径，不安全，已拒绝。请换成官方的aclImdb_v1.tar.gz。"
                    )
                match = REVIEW_NAME.fullmatch(member.name)
                if match and member.isfile():
                    yield match[1], int(match[2]), int(match[3]), archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise LabError(f"压缩包{source}损坏或不完整（{error}）。请删除它并重新下载。") from error


@contextlib.contextmanager
def open_vectors(source: Path, dim: int) -> Iterator[IO[bytes]]:
    """Open ``glove.6B.{dim}d.txt``, plain or inside the zip, for reading lines of bytes."""
    name = f"glove.6B.{dim}d.txt"
    if source.suffix != ".zip":
        with open(source, "rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(source) as archive:
            with archive.open(name) as file:
                yield file
    except KeyError as error:
        raise LabError(f"压缩包{source}里没有{name}。请换成官方的glove.6B.zip。") from error
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise LabError(f"压缩包{source}损坏或不完整（{error}）。请删除它并重新下载。") from error


def _places() -> list[Path]:
    # The second place takes downloads when the user's own folder is read-only.
    return list(dict.fromkeys([files.source_dir(), files.home() / "data"]))


def _sample_folder() -> Path:
    from lab.data import sample

    folder = files.home() / "data" / f"sample-{sample.VERSION}"
    if not folder.is_dir():
        sample.write(folder)
    return folder


def _download(url: str, checksum: str, size: int) -> Path:
    from lab.data import download

    name = url.rsplit("/", 1)[1]
    if mirror := os.environ.get("LAB_MIRROR"):
        if not re.match("https?://", mirror):
            raise LabError(f"环境变量LAB_MIRROR的值{mirror}不是网址。请改成放着{name}的http(s)地址，或去掉它。")
        url = f"{mirror.rstrip('/')}/{name}"
    folder = next((place for place in _places() if _writable(place)), None)
    if folder is None:
        raise LabError(
            f"缺少{name}，而数据文件夹{files.source_dir()}不可写。请把文件放进去，或用--data-dir（环境变量LAB_DATA）另指一处。"
        )
    print(f"缺少{name}，正在下载到{folder}（{size / 1e6:.0f}MB）……")
    return download.fetch(url, folder / name, size, checksum)


def _writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)
