"""What the report tells of the data without having it: a small file that is written when data are prepared."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np

from lab import files
from lab.config import Config
from lab.data import cache, vectors
from lab.data.reviews import PARTS, Dataset

BIN = 50  # tokens a bin of the length histogram
LAST = 1500  # longer reviews fall into the last bin
TOP = 15  # words of each class


def prepare(dataset: str, seed: int, say: Callable[[str], None]) -> None:
    """Prepare reviews and vectors of ``dataset``, and say what there is."""
    for dim in (100, 300):
        config = Config(DATASET=dataset, EMBEDDING_DIM=dim, SEED=seed)
        prepared = cache.load(config)
        if dim == 100:
            sizes = prepared.sizes
            say(
                f"训练{sizes['train']:,}篇，验证{sizes['valid']:,}篇，测试{sizes['test']:,}篇；词表{len(prepared.vocabulary):,}个词。"
            )
            say(f"数据指纹{prepared.fingerprint}，缓存在{prepared.folder}。")
            write(config, prepared)
        _, facts = vectors.load(config, prepared)
        say(vectors.describe(facts, dataset))


def write(config: Config, dataset: Dataset) -> dict:
    """Write ``data.json`` beside the result files, unless it already stands for the same data; returns it."""
    path = files.result_path(config.DATASET, "data")
    if path.is_file() and (old := files.read_json(path))["fingerprint"] == dataset.fingerprint:
        return old
    facts = describe(config, dataset)
    files.write_json(path, facts)
    return facts


def describe(config: Config, dataset: Dataset) -> dict:
    """Sizes, review lengths in tokens, most telling words, repeated reviews, and the test part's labels and lengths."""
    parts = {part: getattr(dataset, part) for part in PARTS}
    edges = np.append(np.arange(0, LAST, BIN), [LAST, np.inf])
    digests = np.concatenate([part.digests for part in parts.values()])
    seen = np.concatenate([dataset.train.digests, dataset.valid.digests])
    repeated = np.isin(dataset.test.digests, seen)
    return dict(
        dataset=config.DATASET,
        fingerprint=dataset.fingerprint,
        seed=config.SEED,
        sizes=dataset.sizes,
        vocab_size=len(dataset.vocabulary),
        tokens={name: len(part.tokens) for name, part in parts.items()},
        unknown_tokens={name: int((part.tokens == 1).sum()) for name, part in parts.items()},
        length_edges=[int(edge) for edge in edges[:-1]],
        length_counts={name: np.histogram(part.lengths, edges)[0].tolist() for name, part in parts.items()},
        length_quantiles={
            name: [int(value) for value in np.percentile(part.lengths, [0, 25, 50, 75, 99, 100])]
            for name, part in parts.items()
        },
        telling_words=telling_words(dataset),
        repeated=int(len(digests) - len(np.unique(digests))),
        repeated_across_test=int(repeated.sum()),
        test_repeated=base64.b64encode(np.packbits(repeated).tobytes()).decode(),
        test_labels=base64.b64encode(np.packbits(dataset.test.labels).tobytes()).decode(),
        test_lengths=base64.b64encode(dataset.test.lengths.astype("<u2").tobytes()).decode(),
    )


def telling_words(dataset: Dataset) -> dict[str, list]:
    """Per class the words with the largest log odds of class against class in training: (word, count) pairs.

    Add-one smoothed; only words that occur at least 100 times (or one in 20,000 tokens of a small corpus).
    """
    counts, words = class_counts(dataset), len(dataset.vocabulary)  # (2, V)
    share = (counts + 1) / (counts + 1).sum(1, keepdims=True)
    odds = np.log(share[1] / share[0])
    odds[(counts.sum(0) < min(100, len(dataset.train.tokens) / 20_000)) | (np.arange(words) < 2)] = 0
    ranked = np.argsort(odds)
    pick = {"neg": ranked[:TOP], "pos": ranked[::-1][:TOP]}
    return {
        name: [[dataset.vocabulary[at], int(counts[:, at].sum())] for at in places] for name, places in pick.items()
    }


def class_counts(dataset: Dataset) -> np.ndarray:
    """(2, V) occurrences of each word in negative and positive training reviews; specials count 0."""
    train_part = dataset.train
    label = np.repeat(train_part.labels, train_part.lengths)
    counts = np.stack(
        [np.bincount(train_part.tokens[label == each], minlength=len(dataset.vocabulary)) for each in (0, 1)]
    )
    counts[:, :2] = 0
    return counts


def raw_review(config: Config, reviews, index: int) -> str:
    """The text of a training or validation review as it is in the source."""
    from lab.data import sources, text

    key = (reviews.labels[index], reviews.numbers[index], reviews.ratings[index])
    found = sources.read_reviews(sources.find_reviews(config.DATASET), ("train",))["train"]
    return next(text.decode(review.text, reviews.name(index)) for review in found if review[:3] == key)
