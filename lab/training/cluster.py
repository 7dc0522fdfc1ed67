"""The grid on the workers of a dask cluster: the data go out once, result files come back by value.

Transport, scheduling and retries are dask's; no folder has to be shared. A worker keeps data, checkpoints and results in
a ``LAB_HOME`` of its own, where a cell that it has begun or finished is found again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm.auto import tqdm

from lab import files, interrupts, record
from lab.config import Config
from lab.data import cache
from lab.errors import LabError
from lab.training import grid, runs

RETRIES = 2  # of a cell whose worker was lost or that failed
ONE_AT_A_TIME = threading.Lock()  # a run owns the seeds of its process
JOB = dict(cores=1, processes=1, memory="4GB", walltime="24:00:00")  # what a worker asks of a queue

try:
    import distributed
    from dask.base import tokenize
except ImportError:
    distributed = None


@contextlib.contextmanager
def connected(
    scheduler: str | None = None, partition: str | None = None, jobs: int = 1
) -> Iterator[distributed.Client]:
    """A client of the scheduler at that address, or of a new one whose ``jobs`` workers wait in a SLURM ``partition``.

    Certificates and the time to wait are those of dask's own configuration (distributed.comm).
    """
    if distributed is None:
        raise LabError("这里没有安装dask。请先运行uv sync --extra cluster，或去掉--scheduler与--slurm在本机运行。")
    with contextlib.ExitStack() as stack:
        if partition:
            from dask_jobqueue import SLURMCluster

            cluster = stack.enter_context(SLURMCluster(queue=partition, **JOB))
            cluster.scale(jobs=jobs)
            scheduler = cluster.scheduler_address
        try:
            client = stack.enter_context(distributed.Client(scheduler))
        except (OSError, TypeError, ValueError) as error:  # TypeError: an address with TLS, but no certificates
            raise LabError(f"连不上dask调度器{scheduler}：{error}。请检查地址、端口与证书。") from None
        yield client


def run(cells: list[Config], client: distributed.Client, again: bool = False) -> list[str]:
    """Run the unfinished cells on the workers; returns the failures' texts.

    Each result is written, whole, as it comes. What a worker had finished for an earlier caller is fetched first. A lost
    worker's cell runs again elsewhere; a worker of another version is a ``LabError``.
    """
    print(f"dask的进度页面：{client.dashboard_link}")
    ours = version()
    for address, theirs in ask(client, version).items():
        if theirs != ours:
            raise LabError(f"工作进程{address}的程序是{theirs}，这里的是{ours}。请在那里换成同一份程序后重新启动它。")
    waiting, failures = grid.plan(cells, again)
    share(client, waiting)
    collect(client, waiting)
    waiting = {config: data for config, data in waiting.items() if not grid.is_finished(config, data)}
    futures = {}
    for config, data in waiting.items():
        key = stored(config, data)[-1]
        future = client.submit(train, config.as_dict(), data, ours, again, key=key, retries=RETRIES)
        distributed.fire_and_forget(future)  # where the caller is lost, it goes on; the next one finds it under its key
        futures[future] = config
    with tqdm(total=len(cells), initial=len(cells) - len(waiting) - len(failures), desc="配置", unit="个") as bar:
        try:
            for future in distributed.as_completed(list(futures)):
                config = futures[future]
                try:
                    files.write_json(files.result_path(config.DATASET, config.run_id), future.result())
                except Exception as error:  # whatever stopped the cell the last time
                    failures.append(f"{config.run_id}：{error}")
                bar.set_postfix_str(config.run_id)
                bar.update()
        except KeyboardInterrupt:
            interrupts.heard()
            client.cancel(list(futures), force=True)
            raise
    return failures


def ask(client: distributed.Client, function: Callable, *arguments) -> dict:
    """What each worker answers, by its address; one that is lost meanwhile has no say."""
    return client.run(function, *arguments, on_error="ignore")


@functools.cache
def version() -> str:
    """The project's version with a hash of its code, and torch's: what has to agree between caller and worker."""
    folder = Path(__file__).parent.parent
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()[:8]
    return f"rnn-lab {importlib.metadata.version('rnn-lab')}（{code}）、torch {importlib.metadata.version('torch')}"


# Data to the workers


def share(client: distributed.Client, waiting: dict[Config, dict]) -> None:
    """Give the prepared data of the cells to the workers, those that come later too, unless all have them."""
    for config in {
        (each.DATASET, each.SEED, each.VOCAB_SIZE, each.EMBEDDING_DIM, each.VECTORS): each for each in waiting
    }.values():
        paths = {str(path.relative_to(files.home())): path for path in data_files(config)}
        has = ask(client, has_files, list(paths))
        if not has or not all(has.values()):
            client.register_plugin(Data(paths), name=f"rnn-lab-{tokenize(list(paths))}")


def data_files(config: Config) -> list[Path]:
    """The files of the prepared data: the encoded reviews and the rows of the vectors."""
    dataset = cache.load(config)
    rows = files.cache_dir(config.DATASET).glob(f"vectors-{dataset.fingerprint}-{config.EMBEDDING_DIM}d-*.npz")
    return sorted(dataset.folder.iterdir()) + (sorted(rows) if config.VECTORS != "random" else [])


def has_files(names: list[str]) -> bool:
    """On a worker: whether the data are there."""
    return all((files.home() / name).is_file() for name in names)


class Data(distributed.WorkerPlugin if distributed else object):
    """Prepared data that a worker writes into its cache when it starts or meets them first."""

    def __init__(self, paths: dict[str, Path]):
        """``paths``: the caller's files by their names below ``LAB_HOME``."""
        self.content = {name: path.read_bytes() for name, path in paths.items()}

    def setup(self, worker) -> None:
        """Write the files that are missing: a folder whole or not at all."""
        home = files.home()
        for folder in {(home / name).parent for name in self.content}:
            own = {name: content for name, content in self.content.items() if (home / name).parent == folder}
            if folder.name.startswith("encoded-"):
                with files.atomic_folder(folder) as temporary:
                    for name, content in own.items():
                        (temporary / Path(name).name).write_bytes(content)
            else:
                for name, content in own.items():
                    with files.atomic_write(home / name) as file:
                        file.write(content)


# Results from the workers


def train(values: dict, data: dict, theirs: str, again: bool) -> dict:
    """On a worker: run a cell; ``LabError`` where program or data are not the caller's."""
    config = Config(**values)
    if (ours := version()) != theirs:
        raise LabError(f"工作进程的程序是{ours}，调用者的是{theirs}，两者必须相同。")
    client, place = distributed.get_client(), stored(config, data)
    if (result := client.get_metadata(place, None)) is not None:
        return result  # its worker was lost before anybody had fetched it
    with ONE_AT_A_TIME:
        found = grid.describe(config)
        if isinstance(found, LabError):
            raise found
        if found != data:
            raise LabError(
                f"工作进程的数据指纹是{found['fingerprint']}，调用者的是{data['fingerprint']}，两者必须相同。"
            )
        result = runs.run(config, again)
    client.set_metadata(place, result)
    return result


def stored(config: Config, data: dict) -> list[str]:
    """Where among its metadata the scheduler keeps a finished result, some 30 kB."""
    return [version(), f"{config.run_id}-{tokenize(data)}"]


def collect(client: distributed.Client, waiting: dict[Config, dict]) -> None:
    """Write the results that were finished for an earlier caller: those at the scheduler, and on the workers' disks."""
    asked = [(config.as_dict(), data) for config, data in waiting.items()]
    kept = [client.get_metadata(stored(*each), None) for each in waiting.items()]
    for found in (kept, *ask(client, finished, asked).values()):
        for result in filter(None, found):
            files.write_json(files.result_path(result["config"]["DATASET"], result["run_id"]), result)


def finished(asked: list[tuple[dict, dict]]) -> list[dict]:
    """On a worker: the results of cells that are finished here and stand on the caller's data."""
    configs = [(Config(**values), data) for values, data in asked]
    return [
        record.read(files.result_path(config.DATASET, config.run_id))
        for config, data in configs
        if grid.is_finished(config, data)
    ]
