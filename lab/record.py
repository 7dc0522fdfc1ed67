"""Result files: what one holds (a schema, checked when it is read), how bits and numbers are packed.

Everything that ``lab.results`` shows is read through ``load``, ``summary`` or ``read``; whatever writes a result file
builds it from the functions below. A file that was damaged or edited is refused with its name and the key.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np

from lab import files
from lab.config import Config, LanguageConfig, from_dict
from lab.errors import LabError

SCHEMA = 1  # of result files; raised where a reader of today could not read those of before


# Packing


def pack_bits(bits: np.ndarray) -> str:
    """Booleans (N,) as base64, eight to the byte."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack_bits(packed: str, n: int) -> np.ndarray:
    """The ``n`` booleans that ``pack_bits`` packed; ``ValueError`` where there is another number of them."""
    raw = base64.b64decode(packed, validate=True)
    if len(raw) != -(-n // 8):
        raise ValueError(f"应有{-(-n // 8)}字节，实有{len(raw)}字节")
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=n).astype(bool)


def pack(values: np.ndarray, kind: str) -> str:
    """Numbers (N,) as base64; ``kind`` is NumPy's name of a little-endian type."""
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def unpack(packed: str, kind: str, n: int | None = None) -> np.ndarray:
    """The numbers (N,) that ``pack`` packed, as float64; ``ValueError`` where they are not ``n``."""
    values = np.frombuffer(base64.b64decode(packed, validate=True), dtype=kind).astype(np.float64)
    if n is not None and len(values) != n:
        raise ValueError(f"应有{n}个数，实有{len(values)}个")
    return values


def tested(found: dict) -> dict:
    """What a result file keeps of an evaluation on the test part (``loss``, ``accuracy``, ``right``, ``probability``)."""
    return dict(
        loss=found["loss"],
        accuracy=found["accuracy"],
        n=len(found["right"]),
        right=pack_bits(found["right"]),
        probability=pack(found["probability"], "<f2"),
    )


def right(result: dict) -> np.ndarray:
    """Whether each test review was judged rightly, (N,) bool, in the order of the data."""
    return unpack_bits(result["test"]["right"], result["test"]["n"])


def probabilities(result: dict) -> np.ndarray:
    """The probability of 'positive' of each test review, (N,)."""
    return unpack(result["test"]["probability"], "<f2")


def heard(reviews, loss: np.ndarray) -> dict:
    """What a result file keeps of the losses (N,) in nats on all tokens of held-out ``reviews``, <unk> counted."""
    return dict(
        loss=float(loss.mean()),
        perplexity=float(np.exp(loss.mean())),
        n_tokens=len(loss),
        unknown=float((reviews.tokens == 1).mean()),
        review_loss=pack(np.add.reduceat(loss, reviews.offsets[:-1]), "<f4"),
        review_tokens=pack(reviews.lengths, "<u2"),
    )


def review_losses(part: dict) -> tuple[np.ndarray, np.ndarray]:
    """Loss (nats, summed) and number of tokens of each held-out review, both (R,), from what ``heard`` returned."""
    return unpack(part["review_loss"], "<f4"), unpack(part["review_tokens"], "<u2")


PASSAGE = 12  # tokens of a traced review around the place where the LSTM changes its mind most


def passage_start(turn: int) -> int:
    """The token, counted from 0, with which the passage round token ``turn`` begins."""
    return max(0, turn - PASSAGE // 2)


# Facts about the data


def describe_data(config: Config, dataset, vector_facts: dict | None) -> dict:
    """What the figures of a classifier stand on: the reviews' fingerprint and sizes, the vectors and what they cover."""
    return dict(
        dataset=config.DATASET,
        fingerprint=dataset.fingerprint,
        sizes=dataset.sizes,
        vocab_size=len(dataset.vocabulary),
        vectors=vector_facts,
    )


# The schema (JSON Schema; importing the library jsonschema takes a second, this one nothing)


def _object(**properties) -> dict:
    return dict(type="object", required=list(properties), properties=properties)


def _list(items: dict) -> dict:
    return dict(type="array", items=items)


TEXT, FLAG = dict(type="string"), dict(type="boolean")
COUNT, SHARE = dict(type="integer", minimum=0), dict(type="number", minimum=0, maximum=1)
POSITIVE = dict(type="number", minimum=0)
SIZES = dict(type="object", required=["train", "valid"], additionalProperties=COUNT)
VECTORS = _object(name=TEXT, words=COUNT, complete=FLAG, covered_words=SHARE, covered_tokens=SHARE)
DATA = _object(dataset=TEXT, fingerprint=TEXT, sizes=SIZES, vocab_size=COUNT)
EPOCH = _object(epoch=COUNT, train_loss=POSITIVE, valid_loss=POSITIVE, valid_accuracy=SHARE, seconds=POSITIVE)
STAGE = _object(tokens=COUNT, train_loss=POSITIVE, valid_loss=POSITIVE, seconds=POSITIVE)
HEARD = _object(loss=POSITIVE, perplexity=POSITIVE, n_tokens=COUNT, unknown=SHARE, review_loss=TEXT, review_tokens=TEXT)
TESTED = _object(loss=POSITIVE, accuracy=SHARE, n=COUNT, right=TEXT, probability=TEXT)
SAMPLE = _object(temperature=POSITIVE, top_k=COUNT, text=TEXT)
MACHINE = dict(
    schema=dict(type="integer", enum=[SCHEMA]),
    run_id=TEXT,
    versions=dict(type="object", additionalProperties=TEXT),
    processor=TEXT,
    threads=COUNT,
    finished=dict(type="string", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"),
    seconds=POSITIVE,
)
VALID = _object(loss=POSITIVE, accuracy=SHARE)
CONFIG = dict(type="object", required=["DATASET", "SEED"])
WITH_VECTORS = dict(allOf=[DATA, _object(vectors=VECTORS)])
KINDS = {
    "classifier": _object(
        config=CONFIG, data=WITH_VECTORS, history=_list(EPOCH), best_epoch=COUNT, valid=VALID, test=TESTED, **MACHINE
    ),
    "linear": _object(config=CONFIG, data=DATA, valid=VALID, test=TESTED, **MACHINE),
    "language_model": _object(
        config=CONFIG, data=WITH_VECTORS, history=_list(STAGE), valid=HEARD, samples=_list(SAMPLE), **MACHINE
    ),
    "ngram": _object(data=DATA, unigram=HEARD, trigram=HEARD, **MACHINE),
}
NUMBERS = _list(COUNT)
# Files beside the results, by their names: see lab/data/summary.py and lab/training/traces.py
BESIDE = {
    "data": _object(
        dataset=TEXT, fingerprint=TEXT, seed=COUNT, sizes=SIZES, vocab_size=COUNT, tokens=SIZES, unknown_tokens=SIZES,
        length_edges=NUMBERS, length_counts=dict(type="object", additionalProperties=NUMBERS),
        length_quantiles=dict(type="object", additionalProperties=NUMBERS), telling_words=_object(neg=_list({}), pos=_list({})),
        repeated=COUNT, repeated_across_test=COUNT, test_repeated=TEXT, test_labels=TEXT, test_lengths=TEXT,
    ),
    "traces": _object(
        runs=_object(RNN=TEXT, LSTM=TEXT),
        reviews=_list(
            _object(
                kind=TEXT, name=TEXT, label=COUNT, turn=COUNT, passage=TEXT,
                probability=_object(RNN=_list(SHARE), LSTM=_list(SHARE)),
            )
        ),
    ),
}  # fmt: skip


# Reading


def read(path: Path) -> Any:
    """Read a result file; ``LabError`` with file and key where it is damaged or disagrees with itself.

    Parameters that came later than the file have their defaults. Other files beside the results (no ``kind``) are
    returned as they are.
    """
    result = files.read_json(path)
    kind = result.get("kind") if isinstance(result, dict) else None
    if kind is None:
        if path.stem in BESIDE:
            _check_schema(path, result, path.stem)
            if path.stem == "data":
                try:
                    summary_labels(result)
                except (KeyError, ValueError) as error:
                    raise _damaged(path, "test_labels", f"或test_lengths与sizes.test不符（{error}）") from None
            return result
        raise _damaged(path, "kind", "缺少")
    if not isinstance(kind, str) or kind not in KINDS:
        raise _damaged(path, "kind", f"是{kind!r}，应为{'、'.join(KINDS)}之一")
    if result.get("schema") != SCHEMA:
        raise LabError(f"结果文件{path}的格式版本是{result.get('schema')}，应为{SCHEMA}。请删除它并重新运行。")
    _check_schema(path, result, kind)
    try:
        _check_sense(result, path)
    except _Wrong as wrong:
        raise _damaged(path, *wrong.args) from None
    return result


def stands_on(path: Path, data: dict) -> bool:
    """Whether the result file ``path`` is there, and its figures stand on ``data`` (as ``describe_data`` tells)."""
    return path.is_file() and read(path)["data"] == data


def load(dataset: str, *kinds: str) -> list[dict]:
    """All result files of these ``kinds`` (classifiers by default) for ``dataset``, by run id."""
    results = [read(path) for path in sorted(files.results_dir(dataset).glob("*.json"))]
    return [result for result in results if result.get("kind") in (kinds or ("classifier",))]


def summary(dataset: str) -> dict | None:
    """The data's description that ``lab prepare`` writes; None where data were never prepared."""
    path = files.result_path(dataset, "data")
    return read(path) if path.is_file() else None


def summary_labels(facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) bool and lengths (N,) of the test reviews, as the summary keeps them."""
    n = facts["sizes"]["test"]
    return unpack_bits(facts["test_labels"], n), unpack(facts["test_lengths"], "<u2", n).astype(int)


class _Wrong(Exception):
    """A key and what is wrong with it."""


def _damaged(path: Path, key: str, what: str) -> LabError:
    return LabError(f"结果文件{path}已损坏：{key}{what}。请删除它并重新运行。")


@functools.cache
def _schema(kind: str) -> Callable[[dict], None]:
    # In this draft 3.0 is no integer, as in the rest of Python.
    return fastjsonschema.compile((KINDS | BESIDE)[kind] | {"$schema": "http://json-schema.org/draft-04/schema#"})


def _check_schema(path: Path, result: dict, kind: str) -> None:
    try:
        _schema(kind)(result)
    except fastjsonschema.JsonSchemaValueException as error:
        key = ".".join(error.path[1:])  # after "data", the library's name of the whole
        if error.rule == "required":
            missing = next(name for name in error.rule_definition if name not in error.value)
            raise _damaged(path, f"{key}.{missing}".lstrip("."), "缺少") from None
        raise _damaged(path, key or "文件", f"的值{str(error.value)[:60]!r}不可用") from None


def _check_sense(result: dict, path: Path) -> None:
    """Raise ``_Wrong`` where two places of the file that must agree do not."""
    kind, sizes = result["kind"], result["data"]["sizes"]
    if result["run_id"] != path.stem:
        raise _Wrong("run_id", f"是{result['run_id']}，与文件名不符")
    if kind in ("classifier", "language_model"):
        try:
            config = from_dict(result["config"], Config if kind == "classifier" else LanguageConfig)
        except LabError as error:
            raise _Wrong("config", f"不可用（{error}）") from None
        if config.run_id != result["run_id"]:
            raise _Wrong("config", f"与运行名{result['run_id']}不符")
        result["config"] = config.as_dict()
    if result.get("config", result["data"]).get("DATASET", result["data"]["dataset"]) != result["data"]["dataset"]:
        raise _Wrong("data.dataset", "与config.DATASET不符")
    if "test" in result:
        test = result["test"]
        marks = _unpacked("test.right", unpack_bits, test["right"], test["n"])
        shares = _unpacked("test.probability", unpack, test["probability"], "<f2", test["n"])
        if test["n"] != sizes.get("test"):
            raise _Wrong("test.n", f"是{test['n']}，与data.sizes.test不符")
        if not test["n"] or abs(marks.mean() - test["accuracy"]) > 1e-9:
            raise _Wrong("test.accuracy", f"是{test['accuracy']}，与逐篇的对错记录不符")
        if not ((shares >= 0) & (shares <= 1)).all():
            raise _Wrong("test.probability", "含有[0, 1]之外的数")
    if kind == "classifier":
        losses = [epoch["valid_loss"] for epoch in result["history"]]
        if [epoch["epoch"] for epoch in result["history"]] != [*range(1, config.N_EPOCHS + 1)]:
            raise _Wrong("history", f"应有第1到{config.N_EPOCHS}轮")
        if result["best_epoch"] != 1 + int(np.argmin(losses)):
            raise _Wrong("best_epoch", f"是{result['best_epoch']}，不是验证损失最低的一轮")
        chosen = result["history"][result["best_epoch"] - 1]
        if (chosen["valid_loss"], chosen["valid_accuracy"]) != (result["valid"]["loss"], result["valid"]["accuracy"]):
            raise _Wrong("valid", "与选中的一轮不符")
    for name in {"language_model": ("valid",), "ngram": ("unigram", "trigram")}.get(kind, ()):
        part = result[name]
        losses = _unpacked(f"{name}.review_loss", unpack, part["review_loss"], "<f4", sizes["valid"])
        tokens = _unpacked(f"{name}.review_tokens", unpack, part["review_tokens"], "<u2", sizes["valid"])
        if tokens.sum() != part["n_tokens"]:
            raise _Wrong(f"{name}.n_tokens", "与各篇的词元数不符")
        if not np.isclose(losses.sum() / part["n_tokens"], part["loss"], rtol=1e-5):
            raise _Wrong(f"{name}.loss", "与各篇的损失不符")
        if not np.isclose(np.exp(part["loss"]), part["perplexity"], rtol=1e-9):
            raise _Wrong(f"{name}.perplexity", "与损失不符")


def _unpacked(key: str, function, *arguments) -> np.ndarray:
    try:
        return function(*arguments)
    except (ValueError, binascii.Error) as error:
        raise _Wrong(key, f"不能解码（{error}）") from None
