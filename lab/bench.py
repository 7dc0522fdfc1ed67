"""What training costs on this machine, beside packed ``torch.nn``: measured into ``report/results/bench.json``."""

from __future__ import annotations

import multiprocessing
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from lab import files, machine
from lab.config import Config
from lab.data import cache, vectors
from lab.data.reviews import Batch, Dataset, batches
from lab.engine import micro_batches, optimizer, process, recurrent
from lab.errors import LabError
from lab.model import classifier
from lab.results import speed
from lab.training import grid, loop, losses

BATCH, INPUTS, HIDDEN = 128, 100, 64  # of a single step: the lab sheet's defaults
STEPS = (64, 128, 256, 300, 512, 1024, 2048)
BASES = ("RNN", "LSTM")
SHAPES = [  # whose epochs are measured
    dict(MODEL_BASE=base, N_LAYERS=layers, BIDIRECTIONAL=bidirectional)
    for layers, bidirectional in ((1, False), (2, True), (5, True))
    for base in BASES
]
ENOUGH = 3.0  # seconds: no more repeats than 3 where they took longer


def run(dataset: str, only: str | None = None) -> dict:
    """Measure everything, or ``only`` one part anew, on an otherwise idle machine; returns this machine's measurements.

    They take the place of earlier ones of the same processor in the file; other machines' stay. Times are medians
    after a warm-up, in seconds; an epoch is run once, with all that a new process loads. Each part has a process of its
    own: the packed path meets memory and small numbers as the system has them, ours as it sets them for itself.
    """
    config = Config(DATASET=dataset)
    prepared = cache.load(config)
    n_threads = torch.get_num_threads()
    measure = dict(
        packed_steps=lambda: alone(packed_steps, STEPS, BATCH, tuned=False),
        packed_epochs=lambda: [alone(packed_epoch, replace(config, MODEL_BASE=base), tuned=False) for base in BASES],
        steps=lambda: alone(steps, STEPS, BATCH),
        epochs=lambda: [alone(epoch, replace(config, **shape), n_threads) for shape in SHAPES],
        grid=lambda: whole_grid(config),
    )
    facts = machine.describe()
    machines = {each["processor"]: each for each in speed.load()}
    if only is None:
        facts |= dict(dataset=dataset, fingerprint=prepared.fingerprint, cores=os.cpu_count())
        result = facts | dict(recurrence=speed.RECURRENCE, batch=BATCH, inputs=INPUTS, hidden=HIDDEN)
    elif only not in measure:
        raise LabError(f"没有名为{only}的测量。可选：{'、'.join(measure)}。")
    elif not speed.is_current(result := machines.get(facts["processor"], {})):
        raise LabError("这台机器还没有完整的测量结果。请先运行uv run lab bench，不带--only。")
    for part in [only] if only else measure:
        result[part] = measure[part]()
    files.write_json(
        speed.path(), dict(schema=speed.SCHEMA, machines=list((machines | {result["processor"]: result}).values()))
    )
    return result


# (a) one step


def steps(lengths: tuple[int, ...], batch: int) -> list[dict]:
    """Seconds of a training step of the recurrence alone over ``batch`` reviews that are all T long, T in ``lengths``."""
    cases = [(base, length) for base in BASES for length in lengths]
    return [
        dict(base=base, steps=length, seconds=median(step_of(recurrent.fused, base, *random_batch(length, batch))))
        for base, length in tqdm(cases, desc="一步", unit="项")
    ]


def packed_steps(lengths: tuple[int, ...], batch: int) -> list[dict]:
    """The same on the packed path, as far as a step takes less than ``speed.PATIENCE``."""
    rows = []
    for base in BASES:
        for length in tqdm(lengths, desc=f"一步，打包的{base}", unit="项"):
            seconds = median(step_of(recurrent.packed, base, *random_batch(length, batch)), speed.PATIENCE)
            if seconds is None:
                break
            rows.append(dict(base=base, steps=length, seconds=seconds))
            if seconds * 4 > speed.PATIENCE and length < lengths[-1]:  # the next one is at least as long again
                break
    return rows


def random_batch(steps: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (T, B, I) and lengths (B,), all T."""
    return torch.randn(steps, batch, INPUTS, requires_grad=True), torch.full((batch,), steps)


def step_of(
    recurrence: Callable, base: str, x: torch.Tensor, lengths: torch.Tensor, embedding=None
) -> Callable[[], None]:
    """A function that goes forward and backward once, from the final state of one layer to x or the embedding."""
    torch.manual_seed(0)
    rnn = (nn.LSTM if base == "LSTM" else nn.RNN)(INPUTS, HIDDEN)
    to = torch.randn(1, x.shape[1], HIDDEN)

    def step():
        rnn.zero_grad()
        (x if embedding is None else embedding.weight).grad = None
        _, state = recurrence(rnn, x, lengths, embedding=embedding, final_only=True)
        (state[0] if base == "LSTM" else state).backward(to)

    return step


def median(work: Callable[[], None], patience: float = float("inf")) -> float | None:
    """Median seconds of ``work`` after one call to warm up: 3 to 15 calls, as many as ``ENOUGH`` allows.

    None where the first call takes longer than ``patience``.
    """
    times: list[float] = []
    while len(times) < 4 or (len(times) < 16 and sum(times[1:]) < ENOUGH):
        at = time.perf_counter()
        work()
        times.append(time.perf_counter() - at)
        if times[0] > patience:
            return None
    return statistics.median(times[1:])


# (b) one epoch


def alone(function: Callable, *arguments, tuned: bool = True):
    """Call ``function`` in a process of its own, whose peak memory is nobody else's, ``tuned`` as training is."""
    tune = process.tune if tuned else None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), tune) as pool:
        return pool.submit(function, *arguments).result()


def epoch(config: Config, n_threads: int) -> dict:
    """Seconds, tokens a second and peak memory (bytes, of the process) of training and validating for one epoch."""
    torch.set_num_threads(n_threads)
    prepared = cache.load(config)
    model, adam = start(config, prepared)
    at = time.perf_counter()
    loop.train_epoch(model, adam, prepared.train, config, 1)
    seconds = time.perf_counter() - at
    loop.evaluate(model, prepared.valid)
    return dict(
        base=config.MODEL_BASE,
        layers=config.N_LAYERS,
        directions=config.n_directions,
        seconds=time.perf_counter() - at,
        training_seconds=seconds,
        tokens_per_second=len(prepared.train.tokens) / seconds,
        memory=machine.peak_memory(),
    )


def start(config: Config, prepared: Dataset):
    """A new model with its optimizer."""
    loop.seed_everything(config.SEED)
    model = classifier.build(config, vectors.load(config, prepared)[0])
    return model.train(), optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)


class Packed(classifier.SentimentClassifier):
    """The classifier on the packed path of ``torch.nn``."""

    def pool(self, x: torch.Tensor, lengths: torch.Tensor, embedding=None) -> torch.Tensor:
        """Tokens (T, B) and their ``embedding`` -> the last layer's final state (B, D*H)."""
        _, state = recurrent.packed(self.rnn, x, lengths, embedding=embedding, final_only=True)
        return self.last(state)


def packed_epoch(config: Config, n: int = 12) -> dict:
    """Seconds of the same epoch on the packed path, its training from ``n`` of the batches, spread over their lengths.

    The epoch's batches are sorted by their longest review and cut into ``n`` like parts; the middle batch of each
    part stands for it. Validation is measured whole. ``seconds``: batches go through whole, as one packs them;
    ``portioned``: in parts of ``speed.PORTION`` tokens, which lessen the square.
    """
    prepared = cache.load(config)
    model, adam = start(config, prepared)
    model.__class__ = Packed
    steps = sorted(batches(prepared.train, config.BATCH_SIZE, [config.SEED, 1]), key=lambda batch: len(batch.tokens))
    parts = np.array_split(np.arange(len(steps)), min(n, len(steps)))
    valid = list(batches(prepared.valid, loop.EVAL_BATCH))

    def step(batch: Batch, most: int) -> None:
        model.zero_grad()
        gradient = torch.zeros_like(model.embedding.weight)
        for part in micro_batches.cut(batch, most):
            (losses.loss_sum(model, part) / len(batch.index)).backward()
            gradient += model.embedding.weight.grad
            model.embedding.weight.grad = None
        model.embedding.weight.grad = gradient
        adam.step()

    def measure(label: str, most: int) -> float:
        step(steps[0], most)
        seconds = 0.0
        for part in tqdm(parts, desc=label, unit="批"):
            at = time.perf_counter()
            step(steps[part[len(part) // 2]], most)
            seconds += (time.perf_counter() - at) * len(part)
        at = time.perf_counter()
        with torch.no_grad():
            for batch in valid:
                for part in micro_batches.cut(batch, most):
                    model(part.tokens, part.lengths)
        return seconds + time.perf_counter() - at

    portioned = measure(f"一轮，分小批打包的{config.MODEL_BASE}", speed.PORTION)
    seconds = measure(f"一轮，整批打包的{config.MODEL_BASE}", sys.maxsize)
    return dict(base=config.MODEL_BASE, batches=len(steps), measured=len(parts), seconds=seconds, portioned=portioned)


def whole_grid(config: Config) -> dict:
    """The table of the seed of which most cells ran on this machine, of several the one in the shortest time."""
    stems = [path.stem for path in files.results_dir(config.DATASET).glob("*.json")]
    seeds = {int(found[1]) for stem in stems if (found := re.search(r"-s(\d+)$", stem))}
    tables = [table_of(replace(config, SEED=seed)) for seed in sorted(seeds | {config.SEED})]
    return min(tables, key=lambda table: (-table["cells"], table["elapsed"]))


def table_of(config: Config) -> dict:
    """Of the cells of this seed that ran on this machine: how many, the time while any did, the most memory of one."""
    cells = grid.configs(DATASET=config.DATASET, SEED=config.SEED)
    paths = [files.result_path(config.DATASET, cell.run_id) for cell in cells]
    results = [files.read_json(path) for path in paths if path.is_file()]
    results = [result for result in results if result["processor"] == machine.processor_name()]
    return dict(
        seed=config.SEED,
        cells=len(results),
        of=len(paths),
        seconds=sum(result["seconds"] for result in results),
        elapsed=elapsed(results),
        memory=max((result.get("memory") or 0 for result in results), default=0) or None,
    )


def elapsed(results: list[dict]) -> float:
    """Seconds while at least one of the runs was going on, by their ends and durations."""
    ends = [datetime.fromisoformat(result["finished"]).timestamp() for result in results]
    spans = sorted((end - result["seconds"], end) for end, result in zip(ends, results, strict=True))
    total, reached = 0.0, float("-inf")
    for start_at, end in spans:
        total += max(0.0, end - max(start_at, reached))
        reached = max(reached, end)
    return total
