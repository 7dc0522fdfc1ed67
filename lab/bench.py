"""What training costs on this machine, beside packed ``torch.nn``: measured into ``report/results/bench.json``."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from lab import files, grid, models, optimizer, recurrent, train
from lab.config import Config
from lab.data import cache, sources, vectors
from lab.data.reviews import Batch, Dataset, batches
from lab.errors import LabError

SCHEMA = 2
RECURRENCE = 2  # raised where the recurrence is written anew: what was measured before says less of it
STEPS = (64, 128, 256, 300, 512, 1024, 2048)
BATCH, INPUTS, HIDDEN = 128, 100, 64  # of a single step: the lab sheet's defaults
PATIENCE = 60.0  # seconds: a packed step that would take longer is left out
PORTION = 2**13  # tokens that the packed path is given at once where a batch is cut into micro_batches
GATES = {"RNN": 1, "LSTM": 4}
SHAPES = [  # whose epochs are measured
    dict(MODEL_BASE=base, N_LAYERS=layers, BIDIRECTIONAL=bidirectional)
    for layers, bidirectional in ((1, False), (2, True), (5, True))
    for base in GATES
]
TEXTS = 5000  # reviews that are split into tokens
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
        packed_epochs=lambda: [alone(packed_epoch, replace(config, MODEL_BASE=base), tuned=False) for base in GATES],
        steps=lambda: alone(steps, STEPS, BATCH),
        share=lambda: [alone(share, base, config, n) for n in sorted({1, n_threads}) for base in GATES],
        epochs=lambda: [alone(epoch, replace(config, **shape), n_threads) for shape in SHAPES],
        workers=lambda: workers(config, n_threads),
        prepare=lambda: prepare(dataset),
        grid=lambda: whole_grid(config),
    )
    facts = train.describe_machine(torch.device("cpu"))
    machines = {machine["processor"]: machine for machine in load()}
    if only is None:
        facts |= dict(dataset=dataset, fingerprint=prepared.fingerprint, cores=os.cpu_count())
        result = facts | dict(recurrence=RECURRENCE, batch=BATCH, inputs=INPUTS, hidden=HIDDEN)
    elif only not in measure:
        raise LabError(f"没有名为{only}的测量。可选：{'、'.join(measure)}。")
    elif not is_current(result := machines.get(facts["processor"], {})):
        raise LabError("这台机器还没有完整的测量结果。请先运行lab bench，不带--only。")
    for part in [only] if only else measure:
        result[part] = measure[part]()
    files.write_json(path(), dict(schema=SCHEMA, machines=list((machines | {result["processor"]: result}).values())))
    return result


def path() -> Path:
    """Where the measurements are kept."""
    return files.home() / "report" / "results" / "bench.json"


# (a) one step


def steps(lengths: tuple[int, ...], batch: int) -> list[dict]:
    """Seconds of a training step of the recurrence alone over ``batch`` reviews that are all T long, T in ``lengths``."""
    cases = [(base, length) for base in GATES for length in lengths]
    return [
        dict(base=base, steps=length, seconds=median(step_of(recurrent.fused, base, *random_batch(length, batch))))
        for base, length in tqdm(cases, desc="一步", unit="项")
    ]


def packed_steps(lengths: tuple[int, ...], batch: int) -> list[dict]:
    """The same on the packed path, as far as a step takes less than ``PATIENCE``."""
    rows = []
    for base in GATES:
        for length in tqdm(lengths, desc=f"一步，打包的{base}", unit="项"):
            seconds = median(step_of(recurrent.packed, base, *random_batch(length, batch)), PATIENCE)
            if seconds is None:
                break
            rows.append(dict(base=base, steps=length, seconds=seconds))
            if seconds * 4 > PATIENCE and length < lengths[-1]:  # the next one is at least as long again
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
    tune = recurrent.tune_process if tuned else None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), tune) as pool:
        return pool.submit(function, *arguments).result()


def epoch(config: Config, n_threads: int) -> dict:
    """Seconds, tokens a second and peak memory (bytes, of the process) of training and validating for one epoch."""
    torch.set_num_threads(n_threads)
    prepared = cache.load(config)
    model, adam = start(config, prepared)
    at = time.perf_counter()
    train.train_epoch(model, adam, prepared.train, config, 1)
    seconds = time.perf_counter() - at
    train.evaluate(model, prepared.valid, torch.device("cpu"))
    return dict(
        base=config.MODEL_BASE,
        layers=config.N_LAYERS,
        directions=config.n_directions,
        seconds=time.perf_counter() - at,
        training_seconds=seconds,
        tokens_per_second=len(prepared.train.tokens) / seconds,
        memory=train.peak_memory(),
    )


def start(config: Config, prepared: Dataset):
    """A new model with its optimizer."""
    train.seed_everything(config.SEED)
    model = models.build(config, vectors.load(config, prepared)[0])
    return model.train(), optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)


def packed_epoch(config: Config, n: int = 12) -> dict:
    """Seconds of the same epoch on the packed path, its training from ``n`` of the batches, spread over their lengths.

    The epoch's batches are sorted by their longest review and cut into ``n`` like parts; the middle batch of each
    part stands for it. Validation is measured whole. ``seconds``: batches go through whole, as one packs them;
    ``portioned``: in micro_batches of ``PORTION`` tokens, which lessen the square.
    """
    prepared = cache.load(config)
    model, adam = start(config, prepared)
    steps = sorted(batches(prepared.train, config.BATCH_SIZE, [config.SEED, 1]), key=lambda batch: len(batch.tokens))
    parts = np.array_split(np.arange(len(steps)), min(n, len(steps)))

    def measure(label: str) -> float:
        take_step(model, adam, steps[0])
        seconds = 0.0
        for part in tqdm(parts, desc=label, unit="批"):
            at = time.perf_counter()
            take_step(model, adam, steps[part[len(part) // 2]])
            seconds += (time.perf_counter() - at) * len(part)
        at = time.perf_counter()
        train.evaluate(model, prepared.valid, torch.device("cpu"))
        model.train()
        return seconds + time.perf_counter() - at

    with mock.patch.object(recurrent, "fused", recurrent.packed):  # run() takes the other path, all else stays
        with mock.patch.object(train, "portion", return_value=PORTION):
            portioned = measure(f"一轮，分份打包的{config.MODEL_BASE}")
        with mock.patch.object(train, "portion", return_value=sys.maxsize):
            seconds = measure(f"一轮，整批打包的{config.MODEL_BASE}")
    return dict(base=config.MODEL_BASE, batches=len(steps), measured=len(parts), seconds=seconds, portioned=portioned)


def take_step(model, adam, batch: Batch) -> None:
    """One step of training."""
    train.take_gradient(model, batch)
    adam.step()


# (c) the share of the machine's matrix-product rate


def share(base: str, config: Config, n_threads: int, n: int = 16) -> dict:
    """Floating-point operations a second of the recurrence on real batches, beside those of large matrix products.

    It reads tokens through an embedding, as in training. Counted are the products that training needs alone:
    3 * 2 * (I + H) * G * H for each token, G gates; neither activations nor padding nor the embedding.
    """
    torch.set_num_threads(n_threads)
    a, b = torch.randn(2, 2048, 2048)
    peak = 2 * 2048**3 / median(lambda: torch.mm(a, b))
    prepared = cache.load(config)
    embedding = nn.Embedding(len(prepared.vocabulary), INPUTS, sparse=True)
    some = list(batches(prepared.train, BATCH, 1))[:n]
    work = [step_of(recurrent.fused, base, batch.tokens, batch.lengths, embedding) for batch in some]
    seconds = median(lambda: [step() for step in work])
    tokens = sum(int(batch.lengths.sum()) for batch in some)
    rate = tokens * 6 * (INPUTS + HIDDEN) * GATES[base] * HIDDEN / seconds
    return dict(base=base, threads=n_threads, peak=peak, rate=rate, share=rate / peak)


# (d) workers and threads


def workers(config: Config, n_threads: int) -> dict:
    """Training tokens a second of one process with all threads, and of as many processes with one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_threads, context, recurrent.tune_process) as pool:
        one = list(pool.map(tokens_per_second, [config], [n_threads]))
        many = list(pool.map(tokens_per_second, [config] * n_threads, [1] * n_threads))
    return dict(processes=n_threads, one=sum(one), many=sum(many))


def tokens_per_second(config: Config, n_threads: int, n: int = 40) -> float:
    """Tokens a second over ``n`` training steps of the LSTM."""
    torch.set_num_threads(n_threads)
    config = replace(config, MODEL_BASE="LSTM")
    prepared = cache.load(config)
    model, adam = start(config, prepared)
    some = list(batches(prepared.train, config.BATCH_SIZE, 1))[:n]
    for batch in some[:3]:
        take_step(model, adam, batch)
    at = time.perf_counter()
    for batch in some:
        take_step(model, adam, batch)
    return sum(int(batch.lengths.sum()) for batch in some) / (time.perf_counter() - at)


# (e) preparing, and what the grid took


def prepare(dataset: str) -> dict:
    """Tokens a second of splitting reviews on all cores, start of the processes included."""
    from lab.data import text

    reviews = sources.read_reviews(sources.find_reviews(dataset), ("train",))["train"][:TEXTS]
    texts = [text.decode(review.text, str(review.number)) for review in reviews]
    at = time.perf_counter()
    _, tokens, _ = text.tokenize_all(texts, [str(review.number) for review in reviews], "train")
    seconds = time.perf_counter() - at
    return dict(reviews=len(texts), tokens=len(tokens), tokens_per_second=len(tokens) / seconds)


def whole_grid(config: Config) -> dict:
    """Of the cells of this seed that ran on this machine: how many, the time while any did, the most memory of one."""
    cells = grid.configs(DATASET=config.DATASET, SEED=config.SEED)
    paths = [files.result_path(config.DATASET, cell.run_id) for cell in cells]
    results = [files.read_json(path) for path in paths if path.is_file()]
    results = [result for result in results if result["processor"] == train.processor_name()]
    return dict(
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


# For the terminal and the report


def load() -> list[dict]:
    """The measurements of each machine; none where the file is missing or of another schema."""
    found = files.read_json(path()) if path().is_file() else {}
    return found["machines"] if found.get("schema") == SCHEMA else []


def is_current(bench: dict) -> bool:
    """Whether a machine's measurements are of today's recurrence."""
    return bench.get("recurrence") == RECURRENCE


def exponent(bench: dict, base: str, low: int = 256, high: int = 2048) -> float:
    """Slope of ln(seconds) over ln(T) of our path between ``low`` and ``high`` steps."""
    points = [(row["steps"], row["seconds"]) for row in bench["steps"] if row["base"] == base]
    steps, seconds = np.log([point for point in points if low <= point[0] <= high]).T
    return float(np.polyfit(steps, seconds, 1)[0])


def speedup(bench: dict, base: str, steps: int = 300) -> float:
    """Packed seconds over ours, of a step of this length."""
    packed, ours = (
        next(row["seconds"] for row in bench[part] if (row["base"], row["steps"]) == (base, steps))
        for part in ("packed_steps", "steps")
    )
    return packed / ours


def epoch_speedup(bench: dict, base: str) -> float:
    """Packed seconds over ours, of a whole epoch of the 1-1 model."""
    return _of(bench["packed_epochs"], base)["seconds"] / _of(bench["epochs"], base)["seconds"]


def _of(rows: list[dict], base: str) -> dict:
    return next(row for row in rows if row["base"] == base)  # the first of its kind is the 1-1 model


def label(machine: dict) -> str:
    """The machine's name in tables and figures."""
    return machine["processor"] + ("" if is_current(machine) else "（旧版）")


def epoch_table(machines: list[dict]) -> pd.DataFrame:
    """A row for each measured epoch: machine, model, seconds, tokens a second, peak memory in GB."""
    return pd.DataFrame(
        {
            "处理器": label(machine),
            "模型": f"{row['base']} {row['layers']}-{row['directions']}",
            "一轮（秒，含验证）": row["seconds"],
            "其中训练（秒）": row["training_seconds"],
            "每秒词元": f"{row['tokens_per_second']:,.0f}",
            "内存峰值（GB）": row["memory"] / 1e9 if row["memory"] else None,
        }
        for machine in machines
        for row in machine["epochs"]
    )


def share_table(machines: list[dict]) -> pd.DataFrame:
    """A row for each machine, base and number of threads: the recurrence's rate beside that of large matrix products."""
    return pd.DataFrame(
        {
            "处理器": label(machine),
            "模型": row["base"],
            "线程": row["threads"],
            "循环层（GFLOP/s）": row["rate"] / 1e9,
            "大矩阵乘法（GFLOP/s）": row["peak"] / 1e9,
            "占比": f"{row['share']:.0%}",
        }
        for machine in machines
        for row in machine["share"]
    )


def sentences(bench: dict) -> list[str]:
    """What a machine's measurements say, a sentence for each."""
    kind = "人造影评sample" if bench["dataset"] == "sample" else "真实的aclImdb影评"
    code = "" if is_current(bench) else "测的是较早的一版循环层。"
    lines = [f"机器：{bench['processor']}，{bench['cores']}核，{bench['threads']}线程；长度分布取自{kind}。{code}"]
    for base in GATES:
        lines.append(
            f"{base}训练一步（T=300，{bench['batch']}篇）比打包快{speedup(bench, base):.1f}倍；"
            f"T从256到2048，耗时按长度的{exponent(bench, base):.2f}次方增长。"
        )
    for row in bench["packed_epochs"]:
        lines.append(
            f"{row['base']} 1-1的一轮，同样的训练循环整批打包约需{row['seconds']:,.0f}秒"
            f"（由{row['batches']}个批次中按长度均匀抽取的{row['measured']}个推算），"
            f"走这里的路{_of(bench['epochs'], row['base'])['seconds']:.0f}秒，快{epoch_speedup(bench, row['base']):.1f}倍；"
            f"若先把批次切成小份再打包，需要{row['portioned']:,.0f}秒。"
        )
    lines += [
        f"{row['base']}的循环层在真实长度上用到了大矩阵乘法速率的{row['share']:.0%}（{row['threads']}线程）。"
        for row in bench["share"]
    ]
    found = bench["workers"]
    lines.append(
        f"训练LSTM 1-1时，一个进程用{bench['threads']}个线程每秒读{found['one']:,.0f}个词元，"
        f"{found['processes']}个单线程进程合起来每秒{found['many']:,.0f}个。"
    )
    lines.append(f"数据预处理每秒切分{bench['prepare']['tokens_per_second']:,.0f}个词元。")
    if (whole := bench["grid"])["cells"]:
        memory = f"，单个进程的内存峰值{whole['memory'] / 1e9:.2f}GB" if whole["memory"] else ""
        lines.append(
            f"实验表种子2077的{whole['of']}格已完成{whole['cells']}格，历时{whole['elapsed'] / 60:.0f}分钟，"
            f"各格用时之和{whole['seconds'] / 60:.0f}分钟{memory}。"
        )
    return lines
