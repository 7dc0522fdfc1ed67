"""Tokenized and encoded reviews on disk, in two stages below ``data/cache/<dataset>/``.

- ``tokens-<part>-<key>/``: every review of a part as type numbers; the key hashes the source and the rules.
- ``encoded-<fingerprint>/``: the three parts as word ids with their vocabulary; the fingerprint hashes the
  reviews' content, the rules, the library versions, the vocabulary's size and the seed of the split.
  ``language-<fingerprint>/``: the same for the language model's text.

Each stage is a folder of plain ``.npy`` arrays, written atomically and read memory-mapped. Training needs
the second stage only, and neither spaCy nor torchtext.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from lab import files
from lab.config import Config, LanguageConfig
from lab.data import sources
from lab.data.reviews import EOS, EOS_ID, PARTS, Dataset, LanguageText, Reviews, split
from lab.errors import LabError

FORMAT = 1  # of the cache folders
LABELS = {"train": "训练影评", "test": "测试影评", "unsup": "无标签影评"}  # beside the progress


def load(config: Config) -> Dataset:
    """Open the encoded arrays for ``config``, preparing them first where they are missing.

    Where neither the reviews nor spaCy are at hand (a GPU host), a prepared cache with the same parameters
    serves. Raises ``LabError`` where there is neither.
    """
    dataset = _open(_prepared(config, "encoded", _encode))
    return dataset._replace(unlabelled=_unlabelled(config, dataset.vocabulary)) if config.VIRTUAL else dataset


def _unlabelled(config: Config, vocabulary: list[str]) -> Reviews:
    """The language model's training text in the numbers of a classifier's ``vocabulary``, without the marks ``EOS_ID``."""
    text = load_language(LanguageConfig(DATASET=config.DATASET, SEED=config.SEED))
    number = {word: at for at, word in enumerate(vocabulary)}
    renumbered = np.array([number.get(word, 1) for word in text.vocabulary], dtype=np.int32)
    tokens, offsets = text.train.tokens, text.train.offsets
    return replace(text.train, tokens=renumbered[tokens[tokens != EOS_ID]], offsets=offsets - np.arange(len(offsets)))


def load_language(config: LanguageConfig) -> LanguageText:
    """The same for the language model: its training text, its held-out text and their common vocabulary."""
    folder = _prepared(config, "language", _encode_language)
    counts = np.load(folder / "counts.npy", allow_pickle=False)
    parts = [_open_reviews(folder, f"{part}-") for part in ("train", "valid")]
    left_out = files.read_json(folder / "meta.json")["left_out"]
    fingerprint = folder.name.split("-")[1]
    return LanguageText(*parts, _read_lines(folder / "vocabulary.txt"), counts, left_out, fingerprint, folder)


def _prepared(config: Config | LanguageConfig, kind: str, encode: Callable) -> Path:
    """Folder of the cache that ``encode`` writes for ``config``: found, or made from the reviews."""
    source = sources.find_reviews(config.DATASET, download=False)
    can_tokenize = all(importlib.util.find_spec(name) for name in ("spacy", "torchtext"))
    if source is None or not can_tokenize:
        folders = [folder for folder in files.cache_dir(config.DATASET).glob(f"{kind}-*") if _matches(folder, config)]
        if len(folders) == 1:
            return folders[0]
        if len(folders) > 1:
            raise LabError(
                f"{files.cache_dir(config.DATASET)}里有{len(folders)}份参数相同的缓存，无法判断用哪一份。请只留一份{kind}-*文件夹。"
            )
        if not can_tokenize:
            raise LabError(
                "这里没有安装spaCy和torchtext，也没有准备好的缓存。请在装有它们的机器上运行uv run lab prepare，再把data/cache拷过来。"
            )
        source = sources.find_reviews(config.DATASET)
    return encode(config, source)


def _tokenized(dataset: str, source: Path, parts: tuple[str, ...]) -> dict[str, Path]:
    """Folders of the tokenized parts, made where missing; the archive is read once for all of them."""
    from lab.data import text

    official = sources.is_official(dataset)
    facts = [FORMAT, text.RULES, text.versions()["spacy"], sources.signature(source)]
    if dataset == "aclImdb" and not official:
        facts.append("small")  # not to be found where the complete corpus is wanted
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    cache = files.cache_dir(dataset)
    folders = {part: cache / f"tokens-{part}-{key}" for part in parts}
    missing = tuple(part for part, folder in folders.items() if not folder.is_dir())
    for part, found in (sources.read_reviews(source, missing, official) if missing else {}).items():
        names = [f"{part}/{review.number}_{review.rating}.txt" for review in found]
        texts = [text.decode(review.text, name) for review, name in zip(found, names, strict=True)]
        types, tokens, offsets = text.tokenize_all(texts, names, LABELS[part])
        content = hashlib.sha256()
        for review in found:
            content.update(
                f"{review.label} {review.number} {review.rating} {len(review.text)}\n".encode() + review.text
            )
        with files.atomic_folder(folders[part]) as folder:
            digests = [int.from_bytes(hashlib.sha256(review.text).digest()[:8], "little") for review in found]
            columns = [[review[at] for review in found] for at in range(3)]
            reviews = Reviews(
                tokens,
                offsets,
                np.array(columns[0], dtype=np.uint8),
                np.array(columns[1], dtype=np.int32),
                np.array(columns[2], dtype=np.uint8),
                np.array(digests, dtype=np.uint64),
            )
            _save_reviews(folder, "", reviews)
            _write_lines(folder / "types.txt", types)
            _write_lines(folder / "content.txt", [content.hexdigest()])
    return folders


def _encode(config: Config, source: Path) -> Path:
    from lab.data import text

    folders = _tokenized(config.DATASET, source, ("train", "test"))
    facts, target = _facts("encoded", config, folders)
    if target.is_dir():
        return target

    types = {part: _read_lines(folder / "types.txt") for part, folder in folders.items()}
    reviews = {part: _open_reviews(folder, "") for part, folder in folders.items()}
    places = dict(zip(("train", "valid"), split(reviews["train"].labels, config.SEED), strict=True))
    train = _select(reviews["train"], places["train"])
    vocabulary = text.vocabulary(
        types["train"], np.bincount(train.tokens, minlength=len(types["train"])), config.VOCAB_SIZE
    )
    number = {part: np.array(vocabulary.lookup_indices(words), dtype=np.int32) for part, words in types.items()}
    for part, words in types.items():
        number[part][[word == text.PAD for word in words]] = 1  # a review cannot contain special tokens
    parts = {
        "train": replace(train, tokens=number["train"][train.tokens]),
        "valid": _select(reviews["train"], places["valid"], number["train"]),
        "test": replace(reviews["test"], tokens=number["test"][reviews["test"].tokens]),
    }
    _save_encoded(target, parts, vocabulary.get_itos(), facts)
    return target


def _encode_language(config: LanguageConfig, source: Path) -> Path:
    from lab.data import text

    folders = _tokenized(config.DATASET, source, ("train", "unsup", "test"))
    facts, target = _facts("language", config, folders)
    if target.is_dir():
        return target

    types = {part: _read_lines(folder / "types.txt") for part, folder in folders.items()}
    reviews = {part: _open_reviews(folder, "") for part, folder in folders.items()}
    # One numbering for both sources of text: the types of train, then those that only unsup has.
    place = {word: at for at, word in enumerate(dict.fromkeys(types["train"] + types["unsup"]))}
    common = {part: np.array([place[word] for word in types[part]], dtype=np.int32) for part in ("train", "unsup")}
    train_places, valid_places = split(reviews["train"].labels, config.SEED)
    valid = _select(reviews["train"], valid_places, common["train"])
    train = _join(
        _select(reviews["train"], train_places, common["train"]),
        replace(reviews["unsup"], tokens=common["unsup"][reviews["unsup"].tokens]),
    )
    # The split and the digests keep held-out text out of the stream: some reviews occur twice in aclImdb.
    held_out = np.isin(train.digests, np.concatenate([valid.digests, reviews["test"].digests]))
    order = np.random.default_rng(config.SEED).permutation(np.flatnonzero(~held_out))
    if not len(order):
        raise LabError("去掉与验证集、测试集重复的影评之后，语言模型没有训练文本了。请换成官方的aclImdb。")
    train = _select(train, order)

    words = text.vocabulary(list(place), np.bincount(train.tokens, minlength=len(place)), config.VOCAB_SIZE).get_itos()
    words.insert(EOS_ID, EOS)
    of_word = {word: at for at, word in enumerate(words) if at > EOS_ID}  # a review cannot contain special tokens
    number = np.array([of_word.get(word, 1) for word in place], dtype=np.int32)
    parts = {
        name: _ended(replace(part, tokens=number[part.tokens])) for name, part in (("train", train), ("valid", valid))
    }
    _save_encoded(target, parts, words, facts | dict(left_out=int(held_out.sum())))
    return target


def _facts(kind: str, config: Config | LanguageConfig, folders: dict[str, Path]) -> tuple[dict, Path]:
    """What an encoded cache follows from, and the folder that is named after it."""
    from lab.data import text

    facts = dict(
        format=FORMAT,
        rules=text.RULES,
        versions=text.versions(),
        content=[_read_lines(folder / "content.txt")[0] for folder in folders.values()],
        parameters={name: getattr(config, name) for name in ("VOCAB_SIZE", "SEED")},
    )
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return facts, files.cache_dir(config.DATASET) / f"{kind}-{fingerprint}"


def _save_encoded(target: Path, parts: dict[str, Reviews], vocabulary: list[str], facts: dict) -> None:
    with files.atomic_folder(target) as folder:
        for part, encoded in parts.items():
            _save_reviews(folder, f"{part}-", encoded)
        files.save_array(
            folder / "counts.npy", np.bincount(parts["train"].tokens, minlength=len(vocabulary)).astype(np.int64)
        )
        _write_lines(folder / "vocabulary.txt", vocabulary)
        files.write_json(folder / "meta.json", facts)


def _join(first: Reviews, second: Reviews) -> Reviews:
    """The reviews of both, those of ``first`` before those of ``second``."""
    offsets = np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]])
    columns = zip(_columns(first)[2:], _columns(second)[2:], strict=True)
    return Reviews(
        np.concatenate([first.tokens, second.tokens]), offsets, *(np.concatenate(column) for column in columns)
    )


def _ended(reviews: Reviews) -> Reviews:
    """The reviews with the mark ``EOS_ID`` after the last token of each."""
    tokens = np.insert(reviews.tokens, reviews.offsets[1:], EOS_ID)
    return replace(reviews, tokens=tokens, offsets=reviews.offsets + np.arange(reviews.n + 1))


def _select(reviews: Reviews, places: np.ndarray, number: np.ndarray | None = None) -> Reviews:
    """The reviews at ``places``, their tokens renumbered where ``number`` is given."""
    tokens = np.concatenate([reviews[place] for place in places])
    offsets = np.concatenate([[0], np.cumsum(reviews.lengths[places])]).astype(np.int64)
    return Reviews(
        tokens if number is None else number[tokens],
        offsets,
        *(column[places] for column in _columns(reviews)[2:]),
    )


def _open(folder: Path) -> Dataset:
    parts = [_open_reviews(folder, f"{part}-") for part in PARTS]
    counts = np.load(folder / "counts.npy", allow_pickle=False)
    return Dataset(*parts, _read_lines(folder / "vocabulary.txt"), counts, folder.name.split("-")[1], folder)


def _matches(folder: Path, config: Config) -> bool:
    facts = files.read_json(folder / "meta.json")
    same = all(getattr(config, name) == value for name, value in facts["parameters"].items())
    return same and facts["format"] == FORMAT


def _save_reviews(folder: Path, prefix: str, reviews: Reviews) -> None:
    for field, column in zip(fields(Reviews), _columns(reviews), strict=True):
        files.save_array(folder / f"{prefix}{field.name}.npy", column)


def _open_reviews(folder: Path, prefix: str) -> Reviews:
    tokens = np.load(folder / f"{prefix}tokens.npy", mmap_mode="r", allow_pickle=False)
    rest = [np.load(folder / f"{prefix}{field.name}.npy", allow_pickle=False) for field in fields(Reviews)[1:]]
    return Reviews(tokens, *rest)


# One word a line; a token never holds a line break, since blanks of every kind separate tokens.
def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _columns(reviews: Reviews) -> list[np.ndarray]:
    return [getattr(reviews, field.name) for field in fields(Reviews)]
