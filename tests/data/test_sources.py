"""Sources: found where they may lie, refused in one Chinese line where they are broken."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from conftest import write_corpus, write_vectors

from lab.data import sources, vectors
from lab.errors import LabError


def pack(folder, path, extra=()):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "aclImdb", "aclImdb")
        for member in extra:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name, **attributes):
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def test_archive_and_folder_give_the_same_reviews(tmp_path):
    folder = write_corpus(tmp_path / "one", per_class=12)
    archive = pack(folder, tmp_path / "aclImdb.tar.gz")
    for part in ("train", "test", "unsup"):
        assert sources.read_reviews(archive, (part,)) == sources.read_reviews(folder / "aclImdb", (part,))
    train = sources.read_reviews(archive, ("train",))["train"]
    assert [review.label for review in train] == [0] * 12 + [1] * 12
    assert [review.number for review in train[:12]] == list(range(12))
    assert {review.rating for review in train} == {2, 9}


@pytest.mark.parametrize(
    "extra",
    [
        member("../evil.txt", size=1),
        member("/etc/evil.txt", size=1),
        member("aclImdb/train/pos/../../../evil.txt", size=1),
        member("aclImdb/train/pos/9999_9.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("aclImdb/train/pos/9998_9.txt", type=tarfile.LNKTYPE, linkname="aclImdb/train/pos/0_9.txt"),
    ],
    ids=["parent", "absolute", "inner-parent", "symlink", "hardlink"],
)
def test_unsafe_archive_is_refused(tmp_path, extra):
    archive = pack(write_corpus(tmp_path / "one"), tmp_path / "aclImdb.tar.gz", [extra])
    with pytest.raises(LabError, match="不安全"):
        sources.read_reviews(archive, ("train",))
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_archive(tmp_path, keep):
    archive = pack(write_corpus(tmp_path / "one"), tmp_path / "aclImdb.tar.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(LabError, match=r"aclImdb\.tar\.gz"):
        sources.read_reviews(archive, ("train", "test"))


def test_wrong_archive(tmp_path):
    with tarfile.open(tmp_path / "aclImdb.tar.gz", "w:gz") as archive:
        archive.addfile(member("cifar/1.png", size=1), io.BytesIO(b"x"))
    with pytest.raises(LabError, match="不是完整的aclImdb"):
        sources.read_reviews(tmp_path / "aclImdb.tar.gz", ("train",))


def test_missing_part_of_a_folder(tmp_path):
    folder = write_corpus(tmp_path / "one")
    for path in (folder / "aclImdb" / "test" / "pos").iterdir():
        path.unlink()
    with pytest.raises(LabError, match="test/pos"):
        sources.read_reviews(folder / "aclImdb", ("train", "test"))


def test_places_in_order(home, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "given"))
    assert sources.find_reviews("aclImdb", download=False) is None
    folder = write_corpus(tmp_path / "given")
    assert sources.find_reviews("aclImdb") == folder / "aclImdb"
    assert sources.find_vectors("aclImdb", 50, download=False) is None
    write_vectors(folder / "glove.6B.50d.txt")
    assert sources.find_vectors("aclImdb", 50) == folder / "glove.6B.50d.txt"


def test_no_data_and_no_network(home, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "empty"))
    # A closed port of this machine stands for the missing network.
    monkeypatch.setattr(sources, "ACLIMDB", ("http://127.0.0.1:9/aclImdb_v1.tar.gz", *sources.ACLIMDB[1:]))
    with pytest.raises(LabError, match=r"下载.*失败.*--dataset sample"):
        sources.find_reviews("aclImdb")
    assert not list((tmp_path / "empty").iterdir())


def test_signature_sees_content_names_and_sizes(tmp_path):
    folder = write_corpus(tmp_path / "one")
    before = sources.signature(folder / "aclImdb")
    assert sources.signature(folder / "aclImdb") == before
    (folder / "aclImdb" / "train" / "pos" / "0_9.txt").write_text("Changed.")
    assert sources.signature(folder / "aclImdb") != before
    archive = pack(folder, tmp_path / "aclImdb.tar.gz")
    before = sources.signature(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert sources.signature(archive) != before


WANTED = {"good": 2, "bad": 3}


def test_vectors_from_text_and_zip(tmp_path):
    path = write_vectors(tmp_path / "glove.6B.50d.txt")
    rows, numbers, n_words = vectors.read(path, 50, WANTED)
    assert rows.shape == (2, 50)
    assert numbers.tolist() == [2, 3]
    assert n_words == 11
    line = next(line for line in path.read_text().splitlines() if line.startswith("bad "))
    assert rows[1].tolist() == pytest.approx([float(value) for value in line.split()[1:]])
    with zipfile.ZipFile(tmp_path / "glove.6B.zip", "w") as archive:
        archive.write(path, path.name)
    assert (vectors.read(tmp_path / "glove.6B.zip", 50, WANTED)[0] == rows).all()
    with pytest.raises(LabError, match=r"glove\.6B\.100d\.txt"):
        vectors.read(tmp_path / "glove.6B.zip", 100, WANTED)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("great " + "0.1 " * 49, "49列"),
        ("great " + "0.1 " * 51, "51列"),
        ("good " + "0.1 " * 50, "重复"),
        ("great " + "0.1 " * 49 + "abc", "格式"),
        ("great " + "0.1 " * 49 + "nan", "非数"),
        ("", "0列"),
    ],
    ids=["short", "long", "twice", "word", "nan", "empty"],
)
def test_broken_vector_line(tmp_path, line, reason):
    path = write_vectors(tmp_path / "glove.6B.50d.txt", words=["good", "bad"])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(LabError, match=f"第3行.*{reason}"):
        vectors.read(path, 50, WANTED)


def test_broken_zip(tmp_path):
    (tmp_path / "glove.6B.zip").write_bytes(b"PK half of it")
    with pytest.raises(LabError, match="损坏"):
        vectors.read(tmp_path / "glove.6B.zip", 50, WANTED)
