"""Starts a program on two ranks."""

import os
import signal
import subprocess
import sys

import pytest

TIMEOUT = 120


def torchrun(*command):
    """Run the command on two ranks; return the finished process of torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # which torchrun passes on to the ranks, unlike SIGKILL
        out, err = process.communicate()
        pytest.fail(f"not finished after {TIMEOUT} s:\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
