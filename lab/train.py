"""One training function, its evaluation and its result file; a stopped run goes on from its last finished epoch."""

from __future__ import annotations

import base64
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from lab import files, models, optimizer, recurrent
from lab.config import Config, LanguageConfig, Parameters, from_dict
from lab.data import cache, vectors
from lab.data.reviews import Batch, Dataset, Reviews, batches, micro_batches
from lab.errors import LabError

SCHEMA = 1  # of result files
EVAL_BATCH = 128
ROOM = 2**24  # numbers (inputs and gates of all layers) that go through at once: under 1 GB with all they leave behind
TRIM = 32  # steps after which freed memory goes back to the system


def run(config: Config) -> dict:
    """Train and test the classifier of ``config``; returns what its result file holds.

    The weights of the epoch with the lowest validation loss are tested and kept in ``runs/``; the result file
    is written at the very end. Raises ``LabError`` for what the user can mend.
    """
    return exclusively(config, _run)


def exclusively(config: Parameters, train: Callable[[Parameters, Path, Path], dict]) -> dict:
    """Call ``train`` with the run's folder and its result file, while no other process trains the same run."""
    folder = run_folder(config)
    path = files.result_path(config.DATASET, config.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    lock, waited = filelock.FileLock(folder / ".train.lock"), False
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"另一个进程正在训练{config.run_id}，等它结束……")
        lock.acquire()
        waited = True
    try:
        return files.read_json(path) if waited and path.is_file() else train(config, folder, path)
    finally:
        lock.release()


def _run(config: Config, folder: Path, path: Path) -> dict:
    started = time.perf_counter()
    recurrent.tune_process()
    device = pick_device(config)
    seed_everything(config.SEED)
    source = language_model(config) if config.PRETRAINED else None
    dataset = cache.load(config)
    table, vector_facts = vectors.load(config, dataset)
    model = models.build(config, table)
    shared = start_from(source, model, dataset.vocabulary) if source else 0
    del table  # as large as the embedding
    model.to(device)
    adam = optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)

    stamp = json.dumps([SCHEMA, config.as_dict(), dataset.fingerprint])
    history, best, spent = load_checkpoint(folder, stamp, model, adam)
    for epoch in tqdm(range(1, config.N_EPOCHS + 1), desc=config.run_id, unit="轮", initial=len(history)):
        if epoch <= len(history):
            continue
        at = time.perf_counter()
        train_loss, norms = train_epoch(model, adam, dataset.train, config, epoch)
        valid = evaluate(model, dataset.valid, device, "验证")
        history.append(
            dict(
                epoch=epoch,
                train_loss=train_loss,
                valid_loss=valid["loss"],
                valid_accuracy=valid["accuracy"],
                grad_norm=statistics.median(norms),
                grad_norm_max=max(norms),
                seconds=time.perf_counter() - at,
            )
        )
        if valid["loss"] <= min(past["valid_loss"] for past in history):
            best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        save_checkpoint(folder, stamp, model, adam, history, best, spent + time.perf_counter() - started)

    model.load_state_dict(best)
    chosen = min(history, key=lambda past: past["valid_loss"])
    test = evaluate(model, dataset.test, device, "测试")
    save_weights(folder, config, best, dataset.vocabulary)
    result = dict(
        schema=SCHEMA,
        kind="classifier",
        run_id=config.run_id,
        config=config.as_dict(),
        data=describe_data(config, dataset, vector_facts),
        **(dict(pretrained=dict(run_id=config.PRETRAINED, words=shared)) if source else {}),
        history=history,
        best_epoch=chosen["epoch"],
        valid=dict(loss=chosen["valid_loss"], accuracy=chosen["valid_accuracy"]),
        test=dict(
            loss=test["loss"],
            accuracy=test["accuracy"],
            n=dataset.test.n,
            right=encode_bits(test["right"]),
            probability=base64.b64encode(test["probability"].astype("<f2").tobytes()).decode(),
        ),
        **describe_machine(device),
        seconds=spent + time.perf_counter() - started,
    )
    files.write_json(path, result)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return result


def train_epoch(model, adam, reviews: Reviews, config: Config, epoch: int) -> tuple[float, list[float]]:
    """Go once through the training reviews; returns the mean loss (nats per review) and each step's gradient norm.

    The norm is that of all parameters together, before clipping.
    """
    model.train()
    # Order and dropout depend on the epoch alone, so that a resumed run repeats an undisturbed one.
    torch.manual_seed(config.SEED * 1000 + epoch)
    total, norms = 0.0, []
    bar = tqdm(total=reviews.n, desc=f"第{epoch}轮", unit="篇", leave=False)
    for batch in batches(reviews, config.BATCH_SIZE, [config.SEED, epoch]):
        total += take_gradient(model, batch) * len(batch.index)
        limit = config.GRAD_CLIP or float("inf")  # then the norm is only measured
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), limit).item())
        if not np.isfinite(total + norms[-1]):
            raise LabError(
                f"第{epoch}轮的训练损失或梯度不是有限的数，训练发散了。请减小LEARNING_RATE，或设GRAD_CLIP=1。"
            )
        adam.step()
        if len(norms) % TRIM == 0:
            recurrent.give_back_memory()
        bar.update(len(batch.index))
    bar.close()
    return total / reviews.n, norms


def take_gradient(model, batch: Batch) -> float:
    """Put the gradient of a batch's mean loss (nats per review) into the parameters; returns that loss."""
    device = model.head.weight.device
    words = model.embedding.weight
    # The gradient of every word, a place in memory for all steps: new ones would leave holes between them.
    dense = torch.zeros_like(words) if words.grad is None else words.grad.zero_()
    model.zero_grad()
    total = 0.0
    # The micro_batches' gradients add up; a laptop's memory holds the activations of one.
    for part in micro_batches(batch, portion(model)):
        logits = model(part.tokens.to(device), part.lengths.to(device))  # (b,)
        loss = F.binary_cross_entropy_with_logits(logits, part.labels.to(device), reduction="sum") / len(batch.index)
        loss.backward()
        total += loss.item()
        dense += words.grad  # sparse: a row for each token
        words.grad = None
    words.grad = dense  # plain Adam moves every row
    return total


def portion(model) -> int:
    """How many tokens go through ``model`` at once: few enough for a laptop's memory."""
    return ROOM // sum(sum(w_ih.shape) for w_ih, *_ in model.rnn.all_weights)  # (G*H, I) of each layer and direction


@torch.no_grad()
def evaluate(model, reviews: Reviews, device: torch.device, label: str = "评估") -> dict:
    """Loss, accuracy, and for each review (N,) the probability of 'positive' and whether it was right."""
    model.eval()
    logits = torch.empty(reviews.n)
    with tqdm(total=reviews.n, desc=label, unit="篇", leave=False) as bar:
        for batch in batches(reviews, EVAL_BATCH):
            for part in micro_batches(batch, portion(model)):
                logits[part.index] = model(part.tokens.to(device), part.lengths.to(device)).cpu()
            bar.update(len(batch.index))
    labels = torch.from_numpy(reviews.labels.astype(np.float32))
    loss = F.binary_cross_entropy_with_logits(logits.double(), labels.double()).item()
    right = ((logits > 0) == (labels > 0)).numpy()
    return dict(loss=loss, accuracy=float(right.mean()), right=right, probability=torch.sigmoid(logits).numpy())


def encode_bits(right: np.ndarray) -> str:
    """Pack booleans (N,) into base64."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def pick_device(config: Parameters) -> torch.device:
    """The device of the run; ``LabError`` where CUDA is asked for and absent."""
    if config.DEVICE == "cuda" and not torch.cuda.is_available():
        raise LabError("参数DEVICE的值'cuda'不可用：这台机器没有可用的CUDA设备。请改用auto或cpu。")
    name = config.DEVICE if config.DEVICE != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch and ask cuDNN and cuBLAS for repeatable results (lab sheet, ``SEED``)."""
    os.environ["PYTHONHASHSEED"] = str(seed)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the lab sheet asks for the global generator too
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def describe_data(config: Config, dataset: Dataset, vector_facts: dict) -> dict:
    """What the figures of a run stand on: the reviews' fingerprint and sizes, the vectors and what they cover."""
    return dict(
        dataset=config.DATASET,
        fingerprint=dataset.fingerprint,
        sizes=dataset.sizes,
        vocab_size=len(dataset.vocabulary),
        vectors=vector_facts,
    )


def describe_machine(device: torch.device) -> dict:
    """Library versions, processor, peak memory and date of a run."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("numpy", "scipy", "numba", "spacy", "torchtext", "rnn-lab"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    finished = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return dict(
        versions=versions, processor=name, threads=torch.get_num_threads(), memory=peak_memory(), finished=finished
    )


def peak_memory() -> int | None:
    """The most memory (bytes) that this process has held so far; None where the system (not Linux) does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def processor_name() -> str:
    """The processor's model, as the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# The run's folder: weights, configuration, vocabulary; and while it runs, the checkpoint.


def run_folder(config: Parameters) -> Path:
    """Folder below ``runs/`` that belongs to the run alone."""
    return files.runs_dir(config.DATASET) / config.run_id


def save_weights(folder: Path, config: Parameters, weights: dict[str, torch.Tensor], vocabulary: list[str]) -> None:
    """Write all that ``lab predict`` needs: weights, configuration and vocabulary."""
    with files.whole(folder / "vocabulary.txt", "w") as file:
        file.writelines(f"{word}\n" for word in vocabulary)
    files.write_json(folder / "config.json", config.as_dict())
    with files.whole(folder / "model.safetensors") as file:
        save_file(apart(weights), file.name)


def load_run(folder: Path) -> tuple[Config, models.SentimentClassifier, list[str]]:
    """Open a finished run: its configuration, its model (on the CPU) and its vocabulary."""
    if not (folder / "model.safetensors").is_file():
        raise LabError(f"{folder}里没有训练好的模型。请先用lab train或lab grid训练。")
    config = from_dict(files.read_json(folder / "config.json"))
    vocabulary = read_vocabulary(folder)
    model = models.build(config, np.zeros((len(vocabulary), config.EMBEDDING_DIM), dtype=np.float32))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return config, model.eval(), vocabulary


def read_vocabulary(folder: Path) -> list[str]:
    """The words of a run, by their numbers."""
    return (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]


def save_checkpoint(folder: Path, stamp: str, model, adam, history: list, best: dict, seconds: float) -> None:
    """Write model, adam, best weights and history after an epoch, in one file, whole or not at all.

    ``best`` may hold other tensors that a run needs to go on: a language model keeps its state there.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
    tensors = apart(tensors)
    facts = dict(stamp=stamp, history=json.dumps(history), seconds=str(seconds))
    with files.whole(folder / "checkpoint.safetensors") as file:
        save_file(tensors, file.name, facts)


def apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
    """Folder of a classifier's (or a ``language`` model's) finished run; without a name, of the lowest validation loss."""
    found = [path.parent for path in files.runs_dir(dataset).glob("*/model.safetensors")]
    folders = {folder.name: folder for folder in found if folder.name.startswith("lm-") == language}
    command = "lab lm" if language else "lab train或lab grid"
    names = "、".join(sorted(folders)) or "（还没有）"
    if run_id is not None:
        if run_id not in folders:
            raise LabError(f"没有训练好的运行{run_id!r}。已有：{names}。请先用{command}训练。")
        return folders[run_id]
    losses = {
        name: files.read_json(path)["valid"]["loss"]
        for name in folders
        if (path := files.result_path(dataset, name)).is_file()
    }
    if not losses:
        raise LabError(f"数据集{dataset}还没有训练好的模型。请先用{command}训练。")
    return folders[min(losses, key=losses.get)]


def language_model(config: Config) -> Path:
    """Folder of the language model ``PRETRAINED``; ``LabError`` where it is missing or does not fit the classifier."""
    folder = find_run(config.DATASET, config.PRETRAINED, language=True)
    if config.BIDIRECTIONAL:
        raise LabError("参数PRETRAINED只能用于单向的分类器：语言模型只从左往右读。请设BIDIRECTIONAL=False。")
    source = from_dict(files.read_json(folder / "config.json"), LanguageConfig)
    # The seed splits training and validation part: with another one it would have read reviews of ours.
    for name in ("MODEL_BASE", "N_LAYERS", "EMBEDDING_DIM", "HIDDEN_DIM", "SEED"):
        theirs, ours = getattr(source, name), getattr(config, name)
        if theirs != ours:
            raise LabError(
                f"语言模型{config.PRETRAINED}的{name}是{theirs}，分类器的是{ours}，两者必须相同。"
                f"请设{name}={theirs!r}，或用lab lm -p {name} {ours}另训练一个。"
            )
    return folder


def start_from(folder: Path, model: models.SentimentClassifier, vocabulary: list[str]) -> int:
    """Copy a language model's recurrent weights and, word by word, its embedding into ``model``.

    Words that the language model does not know keep their vectors, and so does <pad>. Returns how many it knows.
    """
    weights = load_file(folder / "model.safetensors")
    number = {word: at for at, word in enumerate(read_vocabulary(folder))}
    pairs = [(at, number[word]) for at, word in enumerate(vocabulary) if at and word in number]
    ours, theirs = torch.tensor(pairs).T
    with torch.no_grad():
        model.embedding.weight[ours] = weights["embedding.weight"][theirs]
    model.rnn.load_state_dict({name[4:]: value for name, value in weights.items() if name.startswith("rnn.")})
    return len(pairs)


def encode_text(vocabulary: list[str], text: str) -> tuple[list[str], np.ndarray]:
    """Tokens of a text and their numbers (T,); ``LabError`` where none of them is known to the model."""
    from lab.data.text import tokenize

    number = {word: place for place, word in enumerate(vocabulary)}
    words = tokenize(text)
    if not words:
        raise LabError('文本是空的。请给出一段英文影评，例如：lab predict "A wonderful film."')
    tokens = np.array([number.get(word, 1) for word in words])
    if (tokens == 1).all():
        raise LabError(f"文本里没有一个词在词表中（{'、'.join(words[:5])}），模型无从判断。请用英文影评。")
    return words, tokens


def predict(model, vocabulary: list[str], text: str) -> float:
    """Probability that ``text`` is positive."""
    _, tokens = encode_text(vocabulary, text)
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(tokens)[:, None], torch.tensor([len(tokens)]))).item()
