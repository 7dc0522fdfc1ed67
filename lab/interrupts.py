"""Ctrl-C that is heard: raised again until something deals with it, since imports of some libraries swallow it."""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
from collections.abc import Iterator

EVERY = 1.0  # seconds

_next: threading.Timer | None = None


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """From a Ctrl-C on, raise ``KeyboardInterrupt`` every second until it is ``heard`` or leaves the block."""
    if threading.current_thread() is not threading.main_thread():  # only that one has signals
        yield
        return

    def interrupted(*_) -> None:
        global _next
        heard()
        _next = threading.Timer(EVERY, again)
        _next.daemon = True
        _next.start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        heard()
        signal.signal(signal.SIGINT, before)


def again() -> None:
    """Interrupt the main thread, out of a sleep too where the system can do that."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


def heard() -> None:
    """No more repetitions: what follows is to come to its end."""
    if _next is not None:
        _next.cancel()
