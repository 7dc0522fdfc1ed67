"""The lab sheet's 16 configurations, each run through papermill as ``03_train.ipynb``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fnmatch
import itertools
import os
import threading
import time

import filelock
import psutil
from tqdm.auto import tqdm

from lab import files, interrupts, record
from lab.config import Config, from_dict
from lab.data import cache, vectors
from lab.errors import LabError
from lab.notebook import execute


def configs(**common) -> list[Config]:
    """The 16 cells: {RNN, LSTM} x layers {1, 2, 5} x directions {1, 2} at 100 dimensions, 1 layer at 300 too.

    ``common`` are the parameters of all of them; one that the cells differ in is a ``LabError``.
    """
    cells = [(100, layers) for layers in (1, 2, 5)] + [(300, 1)]
    rows = [
        dict(MODEL_BASE=base, N_LAYERS=layers, BIDIRECTIONAL=bidirectional, EMBEDDING_DIM=dim)
        for (dim, layers), bidirectional, base in itertools.product(cells, (False, True), ("RNN", "LSTM"))
    ]
    if fixed := [name for name in common if name in rows[0]]:
        raise LabError(
            f"参数{fixed[0]}由实验表的每个配置决定，不能统一设定。请用--only挑选配置，或用uv run lab train单独训练。"
        )
    return [from_dict(row | common) for row in rows]


def controls(**common) -> list[Config]:
    """The cells that show what the vectors are worth: one layer, one direction, random vectors."""
    return [Config(MODEL_BASE=base, VECTORS="random", **common) for base in ("RNN", "LSTM")]


def select(cells: list[Config], only: str | None) -> list[Config]:
    """Cells whose run id matches the shell pattern ``only``; none is a ``LabError``."""
    chosen = [config for config in cells if only is None or fnmatch.fnmatch(config.run_id, only)]
    if not chosen:
        names = "、".join(config.run_id for config in cells)
        raise LabError(f"没有与{only!r}匹配的配置。可选：{names}。")
    return chosen


def describe(config: Config) -> dict | LabError:
    """What a result of ``config`` would stand on with the data at hand, or why there are none."""
    try:
        dataset = cache.load(config)
        return record.describe_data(config, dataset, vectors.load(config, dataset)[1])
    except LabError as error:
        return error


def is_finished(config: Config, data: dict) -> bool:
    """Whether the result file of ``config`` is there and stands on ``data``."""
    return record.stands_on(files.result_path(config.DATASET, config.run_id), data)


def weights(config: Config) -> int:
    """The weights of the recurrence, with which the time of an epoch grows."""
    inputs = config.EMBEDDING_DIM + (config.N_LAYERS - 1) * config.n_directions * config.HIDDEN_DIM
    gates = 4 if config.MODEL_BASE == "LSTM" else 1
    return gates * config.n_directions * config.HIDDEN_DIM * (inputs + config.N_LAYERS * config.HIDDEN_DIM)


def plan(cells: list[Config], again: bool = False) -> tuple[dict[Config, dict], list[str]]:
    """The unfinished cells with what their results will stand on, and the texts of those that have no data.

    The largest come first, so that at the end no worker is left alone with hours of work.
    Results that stand on other reviews, another split or other vectors are a ``LabError``, unless ``again`` has them
    replaced; so are no data at all.
    """
    described: dict[tuple, dict | LabError] = {}  # once, before several kernels ask for it
    data = {}
    for config in cells:
        key = (config.SEED, config.VOCAB_SIZE, config.EMBEDDING_DIM, config.VECTORS)
        if key not in described:
            described[key] = describe(config)
        data[config] = described[key]
    if all(isinstance(found, LabError) for found in described.values()):
        raise next(iter(described.values()))
    failures = [f"{each.run_id}：{error}" for each, error in data.items() if isinstance(error, LabError)]
    waiting = {
        each: found
        for each, found in sorted(data.items(), key=lambda item: weights(item[0]), reverse=True)
        if isinstance(found, dict) and not is_finished(each, found)
    }
    stale = [each.run_id for each in waiting if files.result_path(each.DATASET, each.run_id).is_file()]
    if stale and not again:
        raise LabError(
            f"{len(stale)}个配置已有的结果来自别的影评、划分或词向量：{'、'.join(stale)}。"
            "请换回原来的数据；或加--again用现在的数据重新运行它们（uv run lab all用--fresh）。"
        )
    return waiting, failures


def run(cells: list[Config], workers: int = 1, again: bool = False) -> list[str]:
    """Run the unfinished cells, ``workers`` at a time with the threads divided; returns the failures' texts.

    A failing cell does not stop the others. Stop the grid at any time: finished cells are never run again,
    an unfinished one goes on from its last epoch. ``again`` and errors as in ``plan``.
    """
    import papermill  # noqa: F401 - here, where Ctrl-C ends an import, and not first on a thread
    import torch

    data, failures = plan(cells, again)
    waiting = list(data)
    threads = max(1, torch.get_num_threads() // workers)  # of the cores, or of what OMP_NUM_THREADS leaves
    os.environ["OMP_NUM_THREADS"] = str(threads)  # the kernels inherit it
    pool = concurrent.futures.ThreadPoolExecutor(workers, "cell")
    with tqdm(total=len(cells), initial=len(cells) - len(waiting) - len(failures), desc="配置", unit="个") as bar:
        try:
            running = {pool.submit(run_cell, config, data[config]): config for config in waiting}
            left = set(running)
            while left:  # a wait without end would miss a Ctrl-C that comes just before it
                finished, left = concurrent.futures.wait(left, 1, concurrent.futures.FIRST_COMPLETED)
                for done in finished:
                    if error := done.exception():
                        failures.append(f"{running[done].run_id}：{error}")
                    bar.set_postfix_str(running[done].run_id)
                    bar.update()
        except KeyboardInterrupt:  # which the kernels do not hear
            interrupts.heard()
            pool.shutdown(wait=False, cancel_futures=True)
            while any(thread.name.startswith("cell") for thread in threading.enumerate()):
                for kernel in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        kernel.kill()
                time.sleep(0.2)
            raise
        pool.shutdown()
    return failures


def run_cell(config: Config, data: dict) -> None:
    """Execute ``03_train.ipynb`` for ``config``; the executed notebook stays in the run's folder."""
    folder = files.make_folder(files.runs_dir(config.DATASET) / config.run_id)
    with filelock.FileLock(folder / ".lock"):  # another grid on the same folder waits here ...
        if not is_finished(config, data):  # ... and finds the cell finished
            execute("03_train.ipynb", folder / "03_train.ipynb", config.as_dict())
