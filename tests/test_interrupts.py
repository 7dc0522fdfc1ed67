"""A Ctrl-C that a library swallows comes again; one that is heard does not."""

from __future__ import annotations

import contextlib
import signal
import time

import click
import pytest
from click.testing import CliRunner

from lab import interrupts
from lab.errors import Stopped
from lab.options import LabGroup


def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.1)


def swallow_twice_and_sleep():
    with interrupts.repeated():
        swallow()
        swallow()
        time.sleep(60)


def test_an_interrupt_that_was_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(interrupts, "EVERY", 0.2)
    before, began = signal.getsignal(signal.SIGINT), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        swallow_twice_and_sleep()
    assert time.monotonic() - began < 30  # out of its sleep
    assert signal.getsignal(signal.SIGINT) is before
    time.sleep(0.4)  # nor is it raised outside the block


def test_one_that_is_heard_does_not_come_again(monkeypatch):
    monkeypatch.setattr(interrupts, "EVERY", 0.2)
    with interrupts.repeated():
        swallow()
        interrupts.heard()
        time.sleep(0.5)


def test_one_while_the_call_is_still_read_ends_like_any_other():
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    @click.group(cls=LabGroup, invoke_without_command=True)
    @click.option("--seed", callback=interrupted)
    def command(seed):
        """Never reached."""

    done = CliRunner().invoke(command, ["--seed", "1"])
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == str(Stopped())
