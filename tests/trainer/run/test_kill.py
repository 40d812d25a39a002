"""kill -9 at any moment: the same command with --resume auto ends with the weights of a run never killed."""

import dataclasses
import multiprocessing
import random
import signal
import subprocess
import sys
import time

import pytest

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.run_folder import RunFolder
from tests.support.trainer import PROGRAMS
from tests.support.trainer.run_state import last_state, metrics_without_time, same

PROGRAM = str(PROGRAMS / "killed.py")
TIMEOUT = 120  # seconds, for a run that hangs


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    """The folder of an uninterrupted run, once for all tests."""
    return RunFolder(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(tiny, arguments):
    """Starts a run of 12 steps in 4 epochs in a process of its own."""
    config = dataclasses.replace(tiny, epochs=4, batch_size=400, keep_checkpoints=2, knn_every=0)

    def start(folder, point="nowhere", count=0):
        command = [*arguments(dataclasses.replace(config, run_dir=str(folder.root))), "--resume", "auto"]
        return subprocess.Popen(
            [sys.executable, PROGRAM, point, str(count), *command], stderr=subprocess.PIPE, text=True
        )

    return start


def finish(process):
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors


@pytest.fixture
def expected(never_killed, run):
    if not never_killed.root.exists():
        finish(run(never_killed))
    return never_killed


@pytest.mark.long
def test_killed_at_random_moments(run, expected, tmp_path):
    folder, rng = RunFolder(tmp_path / "killed"), random.Random(0)
    for step in sorted(rng.sample(range(1, 12), 2)):
        process = run(folder)
        deadline = time.monotonic() + TIMEOUT
        while not (folder.metrics.exists() and folder.metrics.read_text().count("\n") >= step):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
    finish(run(folder))
    assert same(last_state(folder), last_state(expected))
    assert metrics_without_time(folder) == metrics_without_time(expected)


@pytest.mark.long
def test_killed_while_checkpoints_are_written(run, expected, tmp_path):
    folder = RunFolder(tmp_path / "killed")
    for point in ("replace after", "fsync before"):
        process = run(folder, point, count=1)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == -signal.SIGKILL
    finish(run(folder))
    assert same(last_state(folder), last_state(expected))
    assert metrics_without_time(folder) == metrics_without_time(expected)
    assert not list(folder.root.rglob("*.tmp"))


def test_a_reading_process_that_is_left_does_not_keep_the_folder(tmp_path):
    folder, context = RunFolder(tmp_path / "run"), multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()
    with folder.open_new():
        reader = context.Process(target=lambda: begun.set() or end.wait(TIMEOUT))
        reader.start()
        assert begun.wait(TIMEOUT)
        with pytest.raises(TrainerError, match="another process is training"):
            folder.open_new()
    with folder.open_new():  # as if this process had been killed: the system has closed what it alone held
        assert reader.is_alive()
    end.set()
    reader.join(TIMEOUT)
    assert reader.exitcode == 0
