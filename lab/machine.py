"""What a run ran on: library versions, processor, threads, peak memory."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform


def describe(device=None) -> dict:
    """Library versions, processor (or the CUDA ``device``), threads, peak memory and date of a run."""
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("numpy", "scipy", "numba", "spacy", "torchtext", "rnn-lab"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    on_cuda = device is not None and device.type == "cuda"
    return dict(
        versions=versions,
        processor=torch.cuda.get_device_name(device) if on_cuda else processor_name(),
        threads=torch.get_num_threads(),
        memory=peak_memory(),
        finished=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
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
