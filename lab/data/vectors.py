"""Rows of GloVe.6B for the words of a vocabulary (Pennington et al. 2014)."""

from __future__ import annotations

import codecs
import hashlib
import itertools
import re
from pathlib import Path

import numpy as np

from lab import files
from lab.config import Config
from lab.data import sources
from lab.errors import LabError

COMPLETE = 400_000  # words of the complete GloVe.6B
RANDOM_STD = 0.4  # about the standard deviation of GloVe.6B's entries


def load(config: Config, dataset) -> tuple[np.ndarray, dict]:
    """Return the initial embedding (V, D) float32 for ``dataset.vocabulary`` and a description of it.

    ``<pad>`` is the zero row, ``<unk>`` the mean of all words; words without a vector are drawn from a normal
    distribution with the standard deviation of those that have one. The description counts the file's words and what they cover.
    """
    dim, words = config.EMBEDDING_DIM, dataset.vocabulary
    rng = np.random.default_rng([config.SEED, dim])
    if config.VECTORS == "random":
        table = rng.normal(0, RANDOM_STD, (len(words), dim)).astype(np.float32)
        return special_rows(table), dict(name="random", words=0, complete=False, covered_words=0.0, covered_tokens=0.0)

    source = sources.find_vectors(config.DATASET, dim, download=False)
    found = _cached(config, dataset, source)
    if found is None:
        source = source or sources.find_vectors(config.DATASET, dim)
        found = _select(config, dataset, source)
    rows, row_words, n_words = found
    table = rng.normal(0, rows.std(), (len(words), dim)).astype(np.float32)
    table[row_words] = rows
    covered_tokens = float(dataset.counts[row_words].sum() / dataset.counts.sum())
    return special_rows(table), dict(
        name=f"glove.6B.{dim}d",
        words=n_words,
        complete=n_words == COMPLETE,
        covered_words=len(row_words) / (len(words) - 2),
        covered_tokens=covered_tokens,
    )


def special_rows(table: np.ndarray) -> np.ndarray:
    """Set the rows of ``<pad>`` and ``<unk>``; returns ``table``.

    With a vocabulary of all training words ``<unk>`` is never trained: a random row would stay a random word, which
    in validation cost the LSTM a whole point of accuracy. The mean says nothing.
    """
    table[0] = 0
    if len(table) > 2:
        table[1] = table[2:].mean(0)
    return table


def describe(info: dict, dataset: str) -> str:
    """One Chinese sentence that names the vectors and what they cover; a subset is called one."""
    if info["name"] == "random":
        return "词向量：随机初始化。"
    if dataset == "sample":
        kind = "由合成影评自身算出"
    else:
        kind = "完整的GloVe.6B" if info["complete"] else f"GloVe.6B的子集（完整的有{COMPLETE:,}个词）"
    return (
        f"词向量{info['name']}：文件含{info['words']:,}个词，{kind}；"
        f"覆盖词表的{info['covered_words']:.1%}、训练集词元的{info['covered_tokens']:.1%}。"
    )


def read(source: Path, dim: int, wanted: dict[str, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Read GloVe's text format, or the array of the package with 50 dimensions, and keep the rows of ``wanted`` words.

    Returns rows (K, D) float32, their numbers in ``wanted`` (K,) and how many words the file has. A byte-order mark and
    word2vec's header line are skipped. A wrong number of columns, a repeated word or a broken number is a ``LabError``
    with the line.
    """
    if source.suffix == ".npy":
        import pandas as pd

        words = pd.read_parquet(source.with_name("glove_6B_index.parquet"))["index"]
        numbers = np.array([wanted.get(word, -1) for word in words])
        known = np.flatnonzero(numbers >= 0)
        return np.load(source, mmap_mode="r")[known], numbers[known], len(words)
    seen: set[bytes] = set()
    rows, numbers = [], []
    with sources.open_vectors(source, dim) as lines:
        for at, line in enumerate(lines, 1):
            if at == 1 and re.fullmatch(rb"\d+ %d\s*" % dim, line := line.removeprefix(codecs.BOM_UTF8)):
                continue
            word, *columns = line.split() or [b""]
            if len(columns) != dim:
                raise _broken(source, at, f"有{len(columns)}列数字，应为{dim}列")
            if word in seen:
                raise _broken(source, at, f"词{word.decode('utf-8', 'replace')}重复出现")
            seen.add(word)
            try:
                values = np.array([float(column) for column in columns], dtype=np.float32)
                text = word.decode("utf-8")
            except ValueError as error:
                raise _broken(source, at, "不是“词 数字 数字……”的格式") from error
            if not np.isfinite(values).all():
                raise _broken(source, at, "含有无穷大或非数")
            if text in wanted:
                rows.append(values)
                numbers.append(wanted[text])
    if not rows:
        raise LabError(f"词向量文件{source}里没有一个词在词表中。请换成官方的glove.6B。")
    return np.stack(rows), np.array(numbers, dtype=np.int64), len(seen)


def _broken(source: Path, at: int, reason: str) -> LabError:
    return LabError(f"词向量文件{source}第{at}行{reason}。请重新下载官方的glove.6B.zip。")


def _select(config: Config, dataset, source: Path) -> tuple[np.ndarray, np.ndarray, int]:
    wanted = {word: number for number, word in enumerate(dataset.vocabulary) if number > 1}
    rows, numbers, n_words = read(source, config.EMBEDDING_DIM, wanted)
    with files.atomic_write(_path(config, dataset, source)) as file:
        np.savez(file, rows=rows, numbers=numbers, n_words=n_words)
    return rows, numbers, n_words


def _cached(config: Config, dataset, source: Path | None):
    """The selected rows of an earlier run; without the file itself, those of the same vocabulary and size."""
    folder = files.cache_dir(config.DATASET)
    if source is not None:
        found = [_path(config, dataset, source)]
    else:
        found = sorted(folder.glob(f"vectors-{dataset.fingerprint}-{config.EMBEDDING_DIM}d-*.npz"))
    if len(found) > 1:
        raise LabError(
            f"没有词向量文件，而{folder}里有{len(found)}份由不同文件选出的{config.EMBEDDING_DIM}维词向量，无法判断用哪一份。"
            f"请放回词向量文件，或只留一份vectors-{dataset.fingerprint}-{config.EMBEDDING_DIM}d-*.npz。"
        )
    for path in found:
        if path.is_file():
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["rows"], arrays["numbers"], int(arrays["n_words"])
    return None


def _path(config: Config, dataset, source: Path) -> Path:
    key = hashlib.sha256(sources.signature(source).encode()).hexdigest()[:8]
    return files.cache_dir(config.DATASET) / f"vectors-{dataset.fingerprint}-{config.EMBEDDING_DIM}d-{key}.npz"


def neighbours(dataset, table: np.ndarray, n_centres: int = 8, n_near: int = 4):
    """Frequent telling words with their nearest neighbours by cosine, laid out in the plane by t-SNE.

    Returns words (K), points (K, 2) and the centre each word belongs to (K).
    """
    from sklearn.manifold import TSNE

    wanted = "good bad great terrible actor movie funny story boring music love war child king".split()
    number = {word: at for at, word in enumerate(dataset.vocabulary)}
    centres = [word for word in wanted if word in number][:n_centres]
    known = np.argsort(-dataset.counts)[:5000]
    known = known[known > 1]
    rows = table[known] / np.linalg.norm(table[known], axis=1, keepdims=True)
    words, groups, taken = [], [], set(centres)
    for centre in centres:
        row = table[number[centre]] / np.linalg.norm(table[number[centre]])
        near = (dataset.vocabulary[known[at]] for at in np.argsort(-rows @ row))
        fresh = list(itertools.islice((word for word in near if word not in taken), n_near))
        taken.update(fresh)
        words += [centre, *fresh]
        groups += [centre] * (1 + len(fresh))
    plane = TSNE(2, metric="cosine", perplexity=min(5, len(words) / 2), random_state=0)
    return words, plane.fit_transform(np.stack([table[number[word]] for word in words])), groups
