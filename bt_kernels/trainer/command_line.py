"""What the commands of the trainer and of the evaluations share."""

from __future__ import annotations

import textwrap

import joblib
import torch

from bt_kernels.trainer.config.option import OptionPart, shown
from bt_kernels.trainer.parallel.processes import Processes

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def set_threads(processes: Processes) -> None:
    """Share the cores among this machine's processes."""
    # PyTorch counts the machine's cores; a container may have been given fewer. And torchrun, unless told
    # otherwise by OMP_NUM_THREADS, sets it to 1, however many cores there are.
    cores = joblib.cpu_count()
    threads = min(torch.get_num_threads(), cores) if processes.size == 1 else cores // processes.local_size
    torch.set_num_threads(max(1, threads))


def describe_options(config: OptionPart) -> str:
    """The resolved configuration, as many options to a line as fit."""
    options = [f"{name}={shown(getattr(config, name))}" for name in config.as_dict()]
    return textwrap.fill(" ".join(options), width=115, break_long_words=False, break_on_hyphens=False)
