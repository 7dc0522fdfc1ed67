"""Set-up of the process: threads, BLAS, subnormal numbers, memory, signals. Nothing here changes a result beyond rounding."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.linalg  # noqa: F401 - its BLAS is to be loaded before it is limited
import torch
from threadpoolctl import threadpool_limits


@functools.cache  # once is enough for a process
def tune() -> None:
    """Set what training on a CPU wants of its process; best called first: torch's threads inherit it when they start.

    - BLAS (NumPy's and SciPy's, which compiled code calls) computes a product on the thread that asks for it.
    - Subnormal numbers count as 0. A gradient that vanishes over the steps goes through them (below 1.2e-38), and
      some processors compute with them a hundred times slower.
    - Where the C library is glibc, the process keeps the memory it frees. Fresh memory from the system costs ten
      times as much as writing to it: every page of it is cleared first.
    - Signals (Ctrl-C) are handled on a stack of their own, which ``faulthandler`` makes. oneDNN's matrix product lets
      the stack pointer point into the heap, where a signal would overwrite it (uxlfoundation/oneDNN#4845).
    """
    for kind in "efd":
        np.finfo(kind)  # NumPy keeps the answer; asked later, it would warn that there are no subnormals
    torch.set_flush_denormal(True)
    threadpool_limits(1, user_api="blas")
    if (library := c_library()) is not None:
        for option, value in ((-1, 2**31 - 1), (-2, 2**26), (-4, 0)):  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
            library.mallopt(option, value)
    if os.name == "posix" and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


def give_back_memory() -> None:
    """Return freed memory to the system; called now and then, it keeps fragmentation of the heap down."""
    if (library := c_library()) is not None:
        library.malloc_trim(0)


@functools.cache
def c_library() -> ctypes.CDLL | None:
    """The C library where it is glibc, whose memory can be steered."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - raises where this is another library
        return library
    return None


@functools.cache
def threads(n: int) -> ThreadPoolExecutor:
    """``n`` threads, on each of which torch computes alone, as it does from now on in all that start later."""

    def start():
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)

    return ThreadPoolExecutor(n, "lab", initializer=start)


# torch's optimizers import its compiler (2 s) only to keep it out of these methods; nothing here is compiled.
for _name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    _method = getattr(torch.optim.Optimizer, _name)
    setattr(torch.optim.Optimizer, _name, getattr(_method, "__wrapped__", _method))
