"""From raw reviews to tokens, and from tokens to a vocabulary: the only room that knows spaCy and torchtext."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import re
import sys
import unicodedata
from collections import OrderedDict
from functools import lru_cache

import numpy as np

from lab.errors import LabError
from lab.progress import bar

# Raised whenever a rule below changes; it is part of every cache key.
RULES = 2
PAD, UNK = "<pad>", "<unk>"
# A forked worker has spaCy loaded already and needs no __main__ guard in the caller; elsewhere forking is unsafe.
START = "fork" if sys.platform == "linux" else "spawn"
CHUNK = 500  # reviews a worker process takes at a time
LONGEST = 2**16 - 1  # tokens of a review; the data's summary keeps lengths in 16 bits


def _characters() -> dict[int, str]:
    """What ``clean`` puts in the place of single characters."""
    quotes = str.maketrans("‘’‚‛´“”„‟", "'" * 5 + '"' * 4)  # the acute accent is what some reviews write in "don´t"
    table = {code: chr(plain) for code, plain in quotes.items()} | dict.fromkeys([*range(32), 127], " ")
    for code in range(128, 160):
        table[code] = bytes([code]).decode("cp1252", errors="replace").replace("\ufffd", " ").translate(quotes)
    return table | dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"), "")


CHARACTERS = _characters()


def versions() -> dict[str, str]:
    """Versions of the libraries whose rules shape the tokens and the vocabulary."""
    return {name: importlib.metadata.version(name) for name in ("spacy", "torchtext")}


@lru_cache(maxsize=1)
def _tokenizer():
    import spacy

    # The rules of the en_core_web_* pipelines without their models.
    return spacy.blank("en").tokenizer


def clean(text: str) -> str:
    """Bring a review into the spelling that nearly all reviews, and GloVe.6B, use.

    HTML line breaks and control characters become blanks; characters 0x80-0x9f are read as the Windows-1252 bytes that
    they once were (dashes and ellipses in 2 % of aclImdb's reviews); typographic quotes become plain ones; soft hyphens
    and zero-width characters vanish; accented letters are composed.
    """
    text = re.sub(r"<\s*br\s*/?\s*>", " ", text, flags=re.IGNORECASE)
    return unicodedata.normalize("NFC", text.translate(CHARACTERS))


def tokenize(text: str) -> list[str]:
    """Split a review into lower-case tokens (GloVe.6B is lower-case), by spaCy's English rules."""
    return [token.lower_ for token in _tokenizer()(clean(text)) if not token.is_space]


def decode(raw: bytes, name: str) -> str:
    """Decode a review file as UTF-8; other bytes are a ``LabError`` that names file and place."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LabError(f"影评{name}的第{error.start + 1}个字节不是UTF-8编码。请修正或移走这个文件。") from error


def _tokenize_chunk(texts: list[str]) -> tuple[list[str], np.ndarray, list[int]]:
    types: dict[str, int] = {}
    tokens: list[int] = []
    lengths = []
    for text in texts:
        words = tokenize(text)
        tokens.extend(types.setdefault(word, len(types)) for word in words)
        lengths.append(len(words))
    return list(types), np.array(tokens, dtype=np.int32), lengths


def tokenize_all(texts: list[str], names: list[str], label: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Tokenize many reviews on all cores.

    Returns the types (distinct tokens, in order of appearance), the flat tokens as type numbers (int32) and
    the offsets (N+1,) of the reviews in it. A review without a token or with too many is a ``LabError`` with its name.
    """
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    workers = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(chunks)
    )
    _tokenizer()  # before forking
    types: dict[str, int] = {}
    flat, lengths = [], []
    # Worker processes cost a few seconds to start: not for a small corpus.
    pool = multiprocessing.get_context(START).Pool(workers) if workers > 1 and len(texts) > 8 * CHUNK else None
    try:
        done = pool.imap(_tokenize_chunk, chunks) if pool else map(_tokenize_chunk, chunks)
        with bar(total=len(texts), desc=f"分词：{label}", unit="篇") as shown:
            for chunk_types, chunk_tokens, chunk_lengths in done:
                number = np.array([types.setdefault(word, len(types)) for word in chunk_types], dtype=np.int32)
                flat.append(number[chunk_tokens])
                lengths.extend(chunk_lengths)
                shown.update(len(chunk_lengths))
    finally:
        if pool:
            pool.terminate()
    for name, length in zip(names, lengths, strict=True):
        if length == 0:
            raise LabError(f"影评{name}是空的（清理后没有一个词元）。请移走这个文件。")
        if length > LONGEST:
            raise LabError(f"影评{name}有{length:,}个词元，至多可有{LONGEST:,}个。请移走或截短这个文件。")
    return list(types), np.concatenate(flat), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def vocabulary(types: list[str], counts: np.ndarray, size: int):
    """Build torchtext's vocabulary of the ``size`` most frequent types, after ``<pad>`` (0) and ``<unk>`` (1)."""
    import torchtext

    torchtext.disable_torchtext_deprecation_warning()
    from torchtext.vocab import vocab

    ranked = sorted(
        (-int(count), word) for word, count in zip(types, counts, strict=True) if count and word not in (PAD, UNK)
    )
    ordered = OrderedDict((word, -count) for count, word in ranked[:size])
    result = vocab(ordered, specials=[PAD, UNK])
    result.set_default_index(1)
    return result
