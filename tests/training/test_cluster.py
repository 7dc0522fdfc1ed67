"""The grid on dask: workers with nothing in common but the network, killed workers and callers, certificates."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import re
import shutil
import socket
import subprocess
import sys

import psutil
import pytest
from conftest import timeless

from lab import files

pytest.importorskip("distributed", reason="没有安装dask（uv sync --extra cluster）")
KILLS = int(os.environ.get("LAB_KILLS", "1"))  # workers at least, callers half as many
GRID = ("grid", "--dataset", "sample", "-p", "N_EPOCHS", "2", "-p", "HIDDEN_DIM", "8", "--only")
CELLS = os.environ.get("LAB_CLUSTER_CELLS", "*-1x1-100d*")  # "*" for all 16


def network(*arguments) -> bool:
    return shutil.which("ip") and subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


class Place:
    """A scheduler with two workers, each in a network namespace where the system allows it, with a home of its own."""

    number = itertools.count(1)

    def __init__(self, folder, environment=None):
        self.folder, self.environment, self.processes, self.names = folder, environment or {}, [], []
        number = next(self.number)
        self.mark, self.net = f"lab{os.getpid() % 10000}x{number}", f"10.77.{number}"
        self.apart = network("link", "add", self.mark, "type", "bridge")
        address = f"{self.net}.1" if self.apart else "127.0.0.1"
        if self.apart:
            network("addr", "add", f"{address}/24", "dev", self.mark)
            network("link", "set", self.mark, "up")
        with contextlib.closing(socket.socket()) as free:
            free.bind((address, 0))
            self.url = f"{'tls' if environment else 'tcp'}://{address}:{free.getsockname()[1]}"
        self.start("scheduler", f"--host={self.url}", "--no-dashboard")
        self.workers = [self.worker(at) for at in (1, 2)]

    def start(self, *arguments, prefix=(), name="scheduler", environment=None):
        """Start a process of dask with a home and a log of its own."""
        own = dict(LAB_HOME=str(self.folder / name), OMP_NUM_THREADS="1")
        env = os.environ | (self.environment if environment is None else environment) | own
        with open(self.folder / f"{name}.log", "wb") as log:
            command = [*prefix, sys.executable, "-m", "dask", *arguments]
            self.processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=self.folder))
        return self.processes[-1]

    def worker(self, at, environment=None):
        prefix, name = (), f"{self.mark}w{at}"
        if self.apart:
            prefix, veth = ("ip", "netns", "exec", name), f"{self.mark}v{at}"
            self.names.append(name)
            network("netns", "add", name)
            network("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
            network("link", "set", veth, "master", self.mark, "up")
            network("-n", name, "addr", "add", f"{self.net}.{at + 10}/24", "dev", "eth0")
            network("-n", name, "link", "set", "eth0", "up")
            network("-n", name, "link", "set", "lo", "up")
        options = ("--nthreads=1", "--no-dashboard", f"--local-directory={self.folder}/scratch{at}")
        return self.start("worker", self.url, *options, prefix=prefix, name=f"worker{at}", environment=environment)

    def ask(self, *arguments):
        env = os.environ | self.environment | dict(LAB_HOME=str(self.folder / "caller"), OMP_NUM_THREADS="1")
        command = [sys.executable, "-m", "lab", *GRID, CELLS, *arguments, "--scheduler", self.url]
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)

    def results(self, home="caller"):
        return {path.name: path for path in (self.folder / home).glob("runs/sample/results/*x*.json")}

    def close(self):
        living = [psutil.Process(process.pid) for process in self.processes if process.poll() is None]
        living += [child for each in living for child in each.children(recursive=True)]
        for each in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(living, 10)
        for name in self.names:
            network("netns", "del", name)
        if self.apart:
            network("link", "del", self.mark)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What a local grid finds."""
    home = tmp_path_factory.mktemp("local")
    env = os.environ | dict(LAB_HOME=str(home), OMP_NUM_THREADS="1")
    subprocess.run([sys.executable, "-m", "lab", *GRID, CELLS], env=env, check=True, capture_output=True)
    return {path.name: timeless(files.read_json(path)) for path in home.glob("runs/sample/results/*x*.json")}


def test_lost_workers_and_callers_lose_nothing_and_run_nothing_twice(tmp_path, expected):
    rng, lost = random.Random(0), collections.Counter()
    for attempt in itertools.count():
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with contextlib.closing(Place(folder)) as place:
            check_with_losses(place, expected, rng, lost)
        if lost["worker"] >= KILLS and lost["caller"] >= KILLS // 2:
            break
    print(f"{attempt + 1} grids, killed: {dict(lost)}; workers in namespaces of their own: {place.apart}")


def check_with_losses(place, expected, rng, lost):
    """Run the grid while the process that trains is killed at random, and now and then the one that asked."""
    seen = {}
    caller = place.ask()
    while caller.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            caller.wait(rng.uniform(3, 12))
        if caller.poll() is not None:
            break
        if lost["worker"] > 2 * lost["caller"]:
            lost["caller"] += 1
            caller.kill()
            caller.wait()
            for name, path in place.results().items():
                seen.setdefault(name, path.stat().st_mtime_ns)
            caller = place.ask()
        else:
            lost["worker"] += 1
            for each in psutil.Process(rng.choice(place.workers).pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()  # its nanny starts another
    assert caller.returncode == 0, caller.stderr.read()
    assert {name: timeless(files.read_json(path)) for name, path in place.results().items()} == expected
    for name, written in seen.items():
        assert place.results()[name].stat().st_mtime_ns == written
    whose = [name for home in ("worker1", "worker2") for name in place.results(home)]
    assert sorted(whose) == sorted(expected)  # none ran to its end on both


def test_without_the_certificate_nobody_is_let_in(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("没有openssl")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout key -out cert"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    option, tls = "DASK_DISTRIBUTED__COMM__", {}
    tls[f"{option}REQUIRE_ENCRYPTION"] = "True"
    tls[f"{option}TLS__CA_FILE"] = str(tmp_path / "cert")
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        tls |= {f"{option}TLS__{role}__{name.upper()}": str(tmp_path / name) for name in ("cert", "key")}
    with contextlib.closing(Place(tmp_path, tls)) as place:
        place.worker(3, environment={})
        caller = place.ask()
        assert caller.wait(180) == 0, caller.stderr.read()
        assert not place.results("worker3")
        assert "TLS" in (tmp_path / "worker3.log").read_text()
        place.environment = {f"{option}TIMEOUTS__CONNECT": "3s"}
        bare = place.ask("--again")
        said = bare.communicate(timeout=120)[1]
        assert bare.returncode == 1
        assert said.splitlines()[-1].startswith("错误：连不上dask调度器tls://")


def test_a_worker_of_another_version_is_named(tmp_path):
    shutil.copytree(files.PROJECT / "lab", tmp_path / "other" / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "other" / "lab" / "errors.py", "a", encoding="utf-8") as file:
        file.write("\n# a change\n")
    with contextlib.closing(Place(tmp_path)) as place:
        place.worker(3, environment=dict(PYTHONPATH=str(tmp_path / "other")))
        for seed in range(2100, 2110):  # until the third worker is there
            caller = place.ask("--seed", str(seed))
            said = caller.communicate(timeout=180)[1]
            if caller.returncode:
                break
    assert re.search(r"^错误：工作进程tcp://\S+的程序是rnn-lab .+，这里的是rnn-lab .+。请", said.splitlines()[-1])
    assert not place.results("worker3")
