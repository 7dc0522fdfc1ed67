"""Signals in the middle of torch's own LSTM leave the heap whole."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SIGNALLED = """
import signal
import torch
from lab.engine import process

heard = 0
def hear(*_):
    global heard
    heard += 1

process.tune()
torch.set_num_threads(1)
lstm, x = torch.nn.LSTM(100, 256), torch.randn(35, 64, 100)
signal.signal(signal.SIGALRM, hear)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
while heard < 60:
    lstm(x)[0].sum().backward()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that signal")
def test_signals_do_not_write_into_the_heap():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
