"""A run from its configuration to its result file: folder, lock, checkpoint, weights; finding what has been trained."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lab import files, machine, record
from lab.config import Config, LanguageConfig, Parameters, from_dict
from lab.data import cache, vectors
from lab.engine import optimizer, process
from lab.errors import LabError, Stopped
from lab.model import classifier
from lab.training import loop

SHIPPED = files.PROJECT / "report" / "model"  # the classifier that comes with the project: lab.shipped


def run(config: Config, again: bool = False) -> dict:
    """Train and test the classifier of ``config``; returns what its result file holds.

    The weights of the epoch with the lowest validation loss are tested and kept in ``runs/``; the result file
    is written at the very end. A stopped run goes on from its last finished epoch; a finished one is loaded, unless it
    stands on other data or is to run ``again``. Raises ``LabError`` for what the user can mend.
    """
    with run_lock(config) as folder:
        return _run(config, folder, again)


def _run(config: Config, folder: Path, again: bool) -> dict:
    started = time.perf_counter()
    process.tune()
    device = loop.pick_device(config)
    loop.seed_everything(config.SEED)
    source = language_model(config) if config.PRETRAINED else None
    dataset = cache.load(config)
    table, vector_facts = vectors.load(config, dataset)
    data = record.describe_data(config, dataset, vector_facts)
    if not again and (result := finished(config, folder, data)):
        return result
    model = classifier.build(config, table)
    shared = start_from(source, model, dataset.vocabulary) if source else 0
    del table  # as large as the embedding
    model.to(device)
    adam = optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)

    stamp = json.dumps([record.SCHEMA, config.as_dict(), dataset.fingerprint, vector_facts])
    history, best, spent = load_checkpoint(folder, stamp, model, adam)

    def checkpoint(best: dict) -> None:
        save_checkpoint(folder, stamp, model, adam, history, best, spent + time.perf_counter() - started)

    best = loop.fit(model, adam, dataset, config, history, best, checkpoint)
    model.load_state_dict(best)
    chosen = min(history, key=lambda past: past["valid_loss"])
    test = loop.evaluate(model, dataset.test, "测试")
    save_weights(folder, config, best, dataset.vocabulary)
    result = dict(
        schema=record.SCHEMA,
        kind="classifier",
        run_id=config.run_id,
        config=config.as_dict(),
        data=data,
        **(dict(pretrained=dict(run_id=config.PRETRAINED, words=shared)) if source else {}),
        history=history,
        best_epoch=chosen["epoch"],
        valid=dict(loss=chosen["valid_loss"], accuracy=chosen["valid_accuracy"]),
        test=record.tested(test),
        **machine.describe(device),
        seconds=spent + time.perf_counter() - started,
    )
    files.write_json(files.result_path(config.DATASET, config.run_id), result)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return result


# The run's folder: weights, configuration, vocabulary; and while it runs, lock and checkpoint.


@contextlib.contextmanager
def run_lock(config: Parameters) -> Iterator[Path]:
    """The run's folder, while no other process trains the same run."""
    folder = files.make_folder(run_folder(config))
    lock = filelock.FileLock(folder / ".train.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"另一个进程正在训练{config.run_id}，等它结束……")
        lock.acquire()
    try:
        yield folder
    except KeyboardInterrupt:
        raise Stopped from None
    finally:
        lock.release()


def finished(config: Parameters, folder: Path, data: dict) -> dict | None:
    """The result of an earlier run of ``config`` where its weights are there and it stands on ``data``."""
    path = files.result_path(config.DATASET, config.run_id)
    if not (folder / "model.safetensors").is_file() or not record.stands_on(path, data):
        return None
    print(f"{config.run_id}已经训练完成，直接载入它的结果。")
    return record.read(path)


def run_folder(config: Parameters) -> Path:
    """Folder below ``runs/`` that belongs to the run alone."""
    return files.runs_dir(config.DATASET) / config.run_id


def save_weights(folder: Path, config: Parameters, weights: dict[str, torch.Tensor], vocabulary: list[str]) -> None:
    """Write all that ``lab predict`` needs: weights, configuration and vocabulary."""
    with files.atomic_write(folder / "vocabulary.txt", "w") as file:
        file.writelines(f"{word}\n" for word in vocabulary)
    files.write_json(folder / "config.json", config.as_dict())
    with files.atomic_write(folder / "model.safetensors") as file:
        save_file(to_cpu_unshared(weights), file.name)


def load_run(folder: Path) -> tuple[Config, classifier.SentimentClassifier, list[str]]:
    """Open a finished run: its configuration, its model (on the CPU) and its vocabulary."""
    if not (folder / "model.safetensors").is_file():
        raise LabError(f"{folder}里没有训练好的模型。请先用uv run lab train或uv run lab grid训练。")
    config = from_dict(files.read_json(folder / "config.json"))
    vocabulary = read_vocabulary(folder)
    model = classifier.build(config, np.zeros((len(vocabulary), config.EMBEDDING_DIM), dtype=np.float32))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return config, model.eval(), vocabulary


def read_vocabulary(folder: Path) -> list[str]:
    """The words of a run, by their numbers."""
    return (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]


def save_checkpoint(folder: Path, stamp: str, model, adam, history: list, best: dict, seconds: float) -> None:
    """Write model, adam, best weights and history after an epoch, in one file, atomically.

    ``best`` may hold other tensors that a run needs to go on: a language model keeps its state there.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
    tensors = to_cpu_unshared(tensors)
    facts = dict(stamp=stamp, history=json.dumps(history), seconds=str(seconds))
    with files.atomic_write(folder / "checkpoint.safetensors") as file:
        save_file(tensors, file.name, facts)


def to_cpu_unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU; one that shares its memory with another (tied weights) is copied, for safetensors."""
    found, seen = {}, set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        found[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return found


def load_checkpoint(folder: Path, stamp: str, model, adam) -> tuple[list, dict, float]:
    """Put model and optimizer where the run stopped; returns history, best weights and seconds spent so far.

    A checkpoint of another configuration or of other data is not used.
    """
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return [], {}, 0.0
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
        # Copied: the file's tensors lie at any address, and MKL rounds a product differently by alignment.
        tensors = {name: value.clone() for name, value in load_file(path).items()}
    except Exception:  # safetensors has one error class for all; a broken checkpoint only costs the epochs in it
        return [], {}, 0.0
    if facts["stamp"] != stamp:
        return [], {}, 0.0
    groups: dict[str, dict] = {"model": {}, "best": {}, "adam": {}}
    for name, value in tensors.items():
        group, rest = name.split(".", 1)
        groups[group][rest] = value
    model.load_state_dict(groups["model"])
    state: dict[int, dict] = {}
    for name, value in groups["adam"].items():
        number, key = name.split(".")
        state.setdefault(int(number), {})[key] = value
    adam.load_state_dict(adam.state_dict() | {"state": state})
    return json.loads(facts["history"]), groups["best"], float(facts["seconds"])


def find_run(dataset: str, run_id: str | None = None, language: bool = False) -> Path:
    """Folder of a classifier's (or a ``language`` model's) finished run; without a name, of the lowest validation loss.

    Where no classifier of real reviews was trained, and under the name "shipped", it is the one of the project.
    """
    if run_id == "shipped" and dataset == "aclImdb" and not language:
        return SHIPPED
    found = [path.parent for path in files.runs_dir(dataset).glob("*/model.safetensors")]
    folders = {folder.name: folder for folder in found if folder.name.startswith("lm-") == language}
    command = "uv run lab lm" if language else "uv run lab train或uv run lab grid"
    names = "、".join(sorted(folders)) or "（还没有）"
    if run_id is not None:
        if run_id not in folders:
            raise LabError(f"没有训练好的运行{run_id!r}。已有：{names}。请先用{command}训练。")
        return folders[run_id]
    losses = {
        name: record.read(path)["valid"]["loss"]
        for name in folders
        if (path := files.result_path(dataset, name)).is_file()
    }
    if not losses and dataset == "aclImdb" and not language:
        return SHIPPED
    if not losses:
        raise LabError(f"数据集{dataset}还没有训练好的模型。请先用{command}训练。")
    return folders[min(losses, key=losses.get)]


def language_model(config: Config) -> Path:
    """Folder of the language model ``PRETRAINED``; ``LabError`` where it is missing or does not fit the classifier."""
    folder = find_run(config.DATASET, config.PRETRAINED, language=True)
    source = from_dict(files.read_json(folder / "config.json"), LanguageConfig)
    # The seed splits training and validation part: with another one it would have read reviews of ours.
    for name in ("MODEL_BASE", "N_LAYERS", "BIDIRECTIONAL", "EMBEDDING_DIM", "HIDDEN_DIM", "SEED"):
        theirs, ours = getattr(source, name), getattr(config, name)
        if theirs != ours:
            raise LabError(
                f"语言模型{config.PRETRAINED}的{name}是{theirs}，分类器的是{ours}，两者必须相同。"
                f"请设{name}={theirs!r}，或用uv run lab lm -p {name} {ours}另训练一个。"
            )
    return folder


def start_from(folder: Path, model: classifier.SentimentClassifier, vocabulary: list[str]) -> int:
    """Copy a language model's recurrent weights and, word by word, its embedding into ``model``.

    Words that the language model does not know keep their vectors, and so does <pad>. Returns how many it knows.
    """
    weights = load_file(folder / "model.safetensors")
    number = {word: at for at, word in enumerate(read_vocabulary(folder))}
    pairs = [(at, number[word]) for at, word in enumerate(vocabulary) if at and word in number]
    ours, theirs = torch.tensor(pairs).T
    with torch.no_grad():
        model.embedding.weight[ours] = weights["embedding.weight"][theirs]
    model.rnn.load_state_dict(recurrent_weights(weights))
    return len(pairs)


def recurrent_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a language model's recurrent layers under the names of an ``nn.RNN`` or ``nn.LSTM``.

    The two directions of a language model know nothing of each other: where a bidirectional layer reads the states of
    both, the weights of the other direction's are zero.
    """
    rnn = {name[4:]: value for name, value in weights.items() if name.startswith("rnn.")}
    reverse = {name[8:]: value for name, value in weights.items() if name.startswith("reverse.")}
    if not reverse:
        return rnn
    found = {}
    for own, other, ending in ((rnn, False, ""), (reverse, True, "_reverse")):
        for name, value in own.items():
            if name.startswith("weight_ih") and name != "weight_ih_l0":
                zeros = torch.zeros_like(value)
                value = torch.cat([zeros, value] if other else [value, zeros], dim=1)  # (G*H, 2*H)
            found[name + ending] = value
    return found
