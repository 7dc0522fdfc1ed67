"""Encoded reviews: the arrays, the split into training and validation part, length-bucketed batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lab.errors import LabError

PARTS = ("train", "valid", "test")
# Batches that are sorted by length together. On validation, seeds 2077 to 2079, 8 and 50 do not differ beyond the noise
# between seeds (accuracy: LSTM 1-1 86.3 and 85.6 %, RNN 1-1 75.2 and 75.4 %); 50 would save a tenth of the time.
POOL = 8
EOS_ID, EOS = 2, "<eos>"  # the mark at a review's end in the language model's vocabulary


@dataclass(frozen=True)
class Reviews:
    """Reviews as one flat array; review i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray  # (total,) int32
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
    unlabelled: Reviews | None = None  # for ``VIRTUAL``: the language model's text; words that it lacks are <unk>

    @property
    def sizes(self) -> dict[str, int]:
        """Number of reviews of each part."""
        return {part: getattr(self, part).n for part in PARTS}


class LanguageText(NamedTuple):
    """The language model's text: no review of ``train`` is one of the validation or test part, by content either."""

    train: Reviews  # training part and unlabelled reviews in shuffled order; each review ends with EOS_ID
    valid: Reviews  # the classifier's validation part; each review ends with EOS_ID
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

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on ``device``."""
        return self._replace(
            tokens=self.tokens.to(device), lengths=self.lengths.to(device), labels=self.labels.to(device)
        )


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
        yield make_batch(reviews, index)


def endless(reviews: Reviews, batch_size: int, seed: list[int]) -> Iterator[Batch]:
    """Batches of reviews, pass after pass, each in another order."""
    for number in itertools.count(1):
        yield from batches(reviews, batch_size, [*seed, number])


def make_batch(reviews: Reviews, index: np.ndarray) -> Batch:
    """Put the reviews ``index`` (B,) side by side."""
    lengths = reviews.lengths[index]
    tokens = np.zeros((lengths.max(), len(index)), dtype=np.int64)  # (T, B)
    for column, place in enumerate(index):
        tokens[: lengths[column], column] = reviews[place]
    labels = torch.from_numpy(reviews.labels[index].astype(np.float32))
    return Batch(torch.from_numpy(tokens), torch.from_numpy(lengths), labels, index)


def split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split reviews 0.8 / 0.2, stratified by label; returns sorted places for training and validation."""
    from sklearn.model_selection import train_test_split

    n_neg, n_pos = np.bincount(labels, minlength=2)
    if min(n_neg, n_pos) < 5:
        raise LabError(f"训练影评太少：负面{n_neg}篇，正面{n_pos}篇；每类至少要5篇，才能分出验证集。请补充影评。")
    train, valid = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
    return np.sort(train), np.sort(valid)
