"""Reviews from elsewhere: a folder with ``pos/`` and ``neg/`` judged by models that were trained on aclImdb."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab.data.reviews import Reviews
from lab.errors import LabError
from lab.results import evidence, tables
from lab.training import loop

N_BINS = 5  # of the probability, when it is compared with how many of the reviews are positive
N_WORST = 5  # mistakes shown


class Collection(NamedTuple):
    """Reviews of a folder, tokenized; no review is without a token."""

    names: list[str]  # pos/… or neg/…
    labels: np.ndarray  # (N,) uint8, 1 positive
    words: list[str]  # distinct tokens
    tokens: np.ndarray  # (total,) places in ``words``
    offsets: np.ndarray  # (N + 1,)

    def beginning(self, place: int, n: int) -> str:
        """The first ``n`` tokens of a review."""
        start, end = self.offsets[place : place + 2]
        return " ".join(self.words[token] for token in self.tokens[start : min(end, start + n)])

    def encoded(self, vocabulary: list[str]) -> Reviews:
        """The reviews by the numbers of a model's vocabulary, unknown words as <unk>."""
        number = {word: at for at, word in enumerate(vocabulary) if at > 1}
        table = np.array([number.get(word, 1) for word in self.words], dtype=np.int32)
        nothing = np.zeros(len(self.labels), dtype=np.int32)
        return Reviews(table[self.tokens], self.offsets, self.labels, nothing, nothing, nothing)


def read(folder: Path) -> Collection:
    """Read every ``.txt`` of ``folder/pos`` and ``folder/neg``; ``LabError`` where one is missing, empty or not UTF-8."""
    from lab.data import text

    found, labels = [], []
    for label, name in enumerate(("neg", "pos")):
        paths = sorted(path for path in (folder / name).glob("*.txt") if not path.name.startswith("."))
        if not paths:
            raise LabError(f"{folder / name}里没有影评。请在{folder}里建立pos和neg两个文件夹，每篇影评一个.txt文件。")
        found += paths
        labels += [label] * len(paths)
    try:
        texts = [text.decode(path.read_bytes(), str(path)) for path in found]
    except OSError as error:
        raise LabError(f"读不出{error.filename}（{error.strerror}）。请检查它的读取权限，或移走它。") from error
    names = [f"{path.parent.name}/{path.name}" for path in found]
    return Collection(names, np.array(labels, dtype=np.uint8), *text.tokenize_all(texts, names, folder.name))


def judge(run_id: str, model, vocabulary: list[str], collection: Collection) -> list[str]:
    """Lines with what the model makes of the reviews: accuracy, calibration, and the most confident mistakes."""
    reviews = collection.encoded(vocabulary)
    found, labels = loop.evaluate(model, reviews), collection.labels
    right, probability = found["right"], found["probability"]
    low, high = evidence.wilson(int(right.sum()), reviews.n)
    error, brier = tables.calibration(labels, probability)
    lines = [
        f"{run_id}：准确率{found['accuracy']:.1%}（95%置信区间{low:.1%}到{high:.1%}），交叉熵{found['loss']:.3f}，"
        f"期望校准误差{error:.3f}，Brier分数{brier:.3f}；认识其中{(reviews.tokens != 1).mean():.1%}的词元。"
    ]
    place = evidence.probability_bins(probability, N_BINS)
    for at in range(N_BINS):
        if n := int((place == at).sum()):
            lines.append(
                f"　　概率{at / N_BINS:.0%}到{(at + 1) / N_BINS:.0%}：{n}篇，平均{probability[place == at].mean():.1%}，"
                f"其中真为正面的占{labels[place == at].mean():.1%}"
            )
    worst = np.argsort(-np.where(right, -1, np.abs(probability - labels)), kind="stable")[
        : min(N_WORST, (~right).sum())
    ]
    for at in worst:
        lines.append(
            f"　　误判{collection.names[at]}，正面的概率{probability[at]:.1%}：{collection.beginning(at, 14)} …"
        )
    return lines
