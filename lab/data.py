"""From tokens to arrays: the cache on disk, the split, the vocabulary's numbers, and length-bucketed batches.

The cache has two stages below ``data/cache/<dataset>/``:

- ``tokens-<part>-<key>/``: every review of a part as type numbers; the key hashes the source and the rules;
- ``encoded-<fingerprint>/``: the three parts as word numbers with their vocabulary; the fingerprint hashes the
  reviews' content, the rules, the library versions, the vocabulary's size and the seed of the split;
  ``language-<fingerprint>/``: the same for the language model's text.

Each stage is a folder of plain ``.npy`` arrays, written whole or not at all and read memory-mapped. Training needs
the second stage only, and neither spaCy nor torchtext.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lab import files, sources
from lab.config import Config, LanguageConfig
from lab.errors import LabError

PARTS = ("train", "valid", "test")
FORMAT = 1  # of the cache folders
# Batches that are sorted by length together. On validation, seeds 2077 to 2079, 8 and 50 do not differ beyond the noise
# between seeds (accuracy: LSTM 1-1 86.3 and 85.6 %, RNN 1-1 75.2 and 75.4 %); 50 would save a tenth of the time.
POOL = 8
END, EOS = 2, "<eos>"  # the mark at a review's end in the language model's vocabulary


@dataclass(frozen=True)
class Reviews:
    """Reviews as one flat array; review i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray  # (total,) int32, memory-mapped
    offsets: np.ndarray  # (N + 1,) int64
    labels: np.ndarray  # (N,) uint8, 1 positive
    numbers: np.ndarray  # (N,) int32, the ID of ID_RATING.txt
    ratings: np.ndarray  # (N,) uint8, 0 when unlabelled
    digests: np.ndarray  # (N,) uint64, hash of the raw text

    def __getitem__(self, index) -> np.ndarray:
        """Tokens of review ``index``."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def n(self) -> int:
        """Number of reviews."""
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) number of tokens of each review."""
        return np.diff(self.offsets)

    def name(self, index: int) -> str:
        """The review's place in its part of aclImdb, such as ``pos/127_10``."""
        return f"{'pos' if self.labels[index] else 'neg'}/{self.numbers[index]}_{self.ratings[index]}"


class Dataset(NamedTuple):
    """The three encoded parts with the vocabulary they are encoded in."""

    train: Reviews
    valid: Reviews
    test: Reviews
    vocabulary: list[str]  # V words; 0 is <pad>, 1 is <unk>
    counts: np.ndarray  # (V,) occurrences in the training part, <unk> 0
    fingerprint: str
    folder: Path

    @property
    def sizes(self) -> dict[str, int]:
        """Number of reviews of each part."""
        return {part: getattr(self, part).n for part in PARTS}


class LanguageText(NamedTuple):
    """The language model's text: no review of ``train`` is one of the validation or test part, by content either."""

    train: Reviews  # training part and unlabelled reviews in shuffled order; each review ends with END
    valid: Reviews  # the classifier's validation part; each review ends with END
    vocabulary: list[str]  # V words by falling frequency in train; 0 is <pad>, 1 is <unk>, 2 is <eos>
    counts: np.ndarray  # (V,) occurrences in train
    left_out: int  # reviews left out because the same text occurs in the validation or test part
    fingerprint: str
    folder: Path


class Batch(NamedTuple):
    """Reviews side by side, padded with 0; time is the first axis."""

    tokens: torch.Tensor  # (T, B) int64
    lengths: torch.Tensor  # (B,) int64
    labels: torch.Tensor  # (B,) float32
    index: np.ndarray  # (B,) place of each review in its part


def load(config: Config) -> Dataset:
    """Open the encoded arrays for ``config``, preparing them first where they are missing.

    Where neither the reviews nor spaCy are at hand (a GPU host), a prepared cache with the same parameters
    serves. Raises ``LabError`` where there is neither.
    """
    return _open(_prepared(config, "encoded", _encode))


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
                "这里没有安装spaCy和torchtext，也没有准备好的缓存。请在装有它们的机器上运行lab prepare，再把data/cache拷过来。"
            )
        source = sources.find_reviews(config.DATASET)
    return encode(config, source)


def batches(reviews: Reviews, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
    """Yield batches of reviews of similar length, each review once.

    With a ``seed`` the reviews are shuffled, sorted by length inside pools of ``POOL`` batches, and the batches
    shuffled again; without one (evaluation) all are sorted by length.
    """
    lengths = reviews.lengths
    if seed is None:
        order = np.argsort(lengths, kind="stable")
        groups = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    else:
        rng = np.random.default_rng(seed)
        order = rng.permutation(reviews.n)
        pools = [order[at : at + POOL * batch_size] for at in range(0, len(order), POOL * batch_size)]
        sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
        groups = [pool[at : at + batch_size] for pool in sorted_pools for at in range(0, len(pool), batch_size)]
        groups = [groups[place] for place in rng.permutation(len(groups))]
    for index in groups:
        yield batch(reviews, index)


def batch(reviews: Reviews, index: np.ndarray) -> Batch:
    """Put the reviews ``index`` (B,) side by side."""
    lengths = reviews.lengths[index]
    tokens = np.zeros((lengths.max(), len(index)), dtype=np.int64)  # (T, B)
    for column, place in enumerate(index):
        tokens[: lengths[column], column] = reviews[place]
    labels = torch.from_numpy(reviews.labels[index].astype(np.float32))
    return Batch(torch.from_numpy(tokens), torch.from_numpy(lengths), labels, index)


def portions(batch: Batch, most: int) -> Iterator[Batch]:
    """Cut a batch, shortest reviews first, into parts of at most ``most`` tokens (or a single review)."""
    order = torch.argsort(batch.lengths, stable=True)
    start, tokens = 0, 0
    for place, length in enumerate(batch.lengths[order].tolist()):
        if tokens and tokens + length > most:
            yield _part(batch, order[start:place])
            start, tokens = place, 0
        tokens += length
    yield _part(batch, order[start:])


def _part(batch: Batch, places: torch.Tensor) -> Batch:
    lengths = batch.lengths[places]
    tokens = batch.tokens[: lengths.max(), places]
    return Batch(tokens, lengths, batch.labels[places], batch.index[places.numpy()])


def split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split reviews 0.8 / 0.2, stratified by label; returns sorted places for training and validation."""
    from sklearn.model_selection import train_test_split

    train, valid = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
    return np.sort(train), np.sort(valid)


def _tokenized(dataset: str, source: Path, parts: tuple[str, ...]) -> dict[str, Path]:
    """Folders of the tokenized parts, made where missing; the archive is read once for all of them."""
    from lab import text

    facts = [FORMAT, text.RULES, text.versions()["spacy"], sources.signature(source)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    cache = files.cache_dir(dataset)
    folders = {part: cache / f"tokens-{part}-{key}" for part in parts}
    missing = tuple(part for part, folder in folders.items() if not folder.is_dir())
    for part, found in (sources.read_reviews(source, missing) if missing else {}).items():
        names = [f"{part}/{review.number}_{review.rating}.txt" for review in found]
        texts = [text.decode(review.text, name) for review, name in zip(found, names, strict=True)]
        types, tokens, offsets = text.tokenize_all(texts, names, part)
        content = hashlib.sha256()
        for review in found:
            content.update(
                f"{review.label} {review.number} {review.rating} {len(review.text)}\n".encode() + review.text
            )
        with files.whole_folder(folders[part]) as folder:
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
    from lab import text

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
        number[part][[word == text.PAD for word in words]] = 1  # a review may not write padding
    parts = {
        "train": replace(train, tokens=number["train"][train.tokens]),
        "valid": _select(reviews["train"], places["valid"], number["train"]),
        "test": replace(reviews["test"], tokens=number["test"][reviews["test"].tokens]),
    }
    _save_encoded(target, parts, vocabulary.get_itos(), facts)
    return target


def _encode_language(config: LanguageConfig, source: Path) -> Path:
    from lab import text

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
    words.insert(END, EOS)
    of_word = {word: at for at, word in enumerate(words) if at > END}  # a review may not write the marks
    number = np.array([of_word.get(word, 1) for word in place], dtype=np.int32)
    parts = {
        name: _ended(replace(part, tokens=number[part.tokens])) for name, part in (("train", train), ("valid", valid))
    }
    _save_encoded(target, parts, words, facts | dict(left_out=int(held_out.sum())))
    return target


def _facts(kind: str, config: Config | LanguageConfig, folders: dict[str, Path]) -> tuple[dict, Path]:
    """What an encoded cache follows from, and the folder that is named after it."""
    from lab import text

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
    with files.whole_folder(target) as folder:
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
    """The reviews with the mark ``END`` after the last token of each."""
    tokens = np.insert(reviews.tokens, reviews.offsets[1:], END)
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


def _columns(reviews: Reviews) -> list[np.ndarray]:
    return [getattr(reviews, field.name) for field in fields(Reviews)]


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
