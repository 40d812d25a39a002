"""A run whose terminal is closed: SIGHUP saves; where nohup has it ignored, the run goes on without a console."""

import dataclasses
import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bt_kernels.trainer.data.loader import _ignore_signals
from bt_kernels.trainer.run.console import outlived_console
from bt_kernels.trainer.run.metrics import read_metrics
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.run.signals import ANSWERED, Stop, StopRequest
from tests.support.trainer import PROGRAMS

TRAINER = str(PROGRAMS / "killed.py")
TIMEOUT = 120

# Becomes the leader of a session on the terminal, as a shell's child does, and then the command.
LEAD = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def status_after_hangup(folder, how, arguments):
    """The exit status of a trainer whose terminal is closed once it has recorded a step."""
    master, terminal = pty.openpty()
    command = [sys.executable, "-c", LEAD, how, TRAINER, "nowhere", "0", *arguments]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    os.close(terminal)
    said = b""
    while b"on-diag" not in said:  # a step's; the bar is there before signals are answered
        part = os.read(master, 65536)
        said += part
    os.close(master)
    try:
        return process.wait(TIMEOUT)
    finally:
        process.kill()


@pytest.mark.long
def test_a_closed_terminal_saves_the_run_and_under_nohup_ends_nothing(tiny, arguments):
    config = dataclasses.replace(tiny, epochs=3, knn_every=0)
    folder = RunFolder(Path(tiny.run_dir))
    assert status_after_hangup(folder, "nohup", arguments(config)) == 0
    assert [metrics.step for metrics in read_metrics(folder.metrics)] == [1, 2, 3, 4, 5, 6]

    other = RunFolder(folder.root.with_name("other"))
    config = dataclasses.replace(config, run_dir=str(other.root), checkpoint_every=100, epochs=100)
    assert status_after_hangup(other, "shell", arguments(config)) == 75
    assert other.checkpoints.steps() == [read_metrics(other.metrics)[-1].step]


@pytest.mark.parametrize("number", ANSWERED)
def test_a_signal_that_is_ignored_stays_ignored(number):
    previous = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as request:
            signal.raise_signal(number)
            assert request.reason == Stop.NO
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, previous)


def test_workers_leave_every_signal_to_the_main_process():
    previous = {number: signal.getsignal(number) for number in ANSWERED}
    assert signal.SIGHUP in ANSWERED
    try:
        _ignore_signals(0)
        assert all(signal.getsignal(number) == signal.SIG_IGN for number in ANSWERED)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def test_only_a_console_that_is_gone_is_outlived(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        os.close(reader)
        with outlived_console():
            print("to nobody")
            print("and again", flush=True)


def test_other_errors_of_the_console_are_not_hidden(monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with outlived_console(), pytest.raises(OSError, match="No space left"):
        print("a log that the disk does not take")
