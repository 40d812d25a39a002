"""What a step measured, and the file that keeps it: one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.files import write_atomically


@dataclass(frozen=True)
class StepMetrics:
    """What one training step measured; what is not measured in every step is None in the others."""

    step: int  # steps done, this one included
    epoch: int  # from 1
    loss: float
    on_diagonal: float  # Σ_i (1 − C_ii)², before any weight
    off_diagonal: float  # Σ_{i≠j} C_ij², before any weight
    learning_rate: float  # of matrices and kernels
    seconds: float  # of training, over all parts of a resumed run
    unreadable_images: int = 0  # so far, replaced by others
    mean_correlation: float | None = None  # mean of C_ii, 1 for views that agree
    off_diagonal_rms: float | None = None  # root mean square of C_ij, i ≠ j, 0 for features without redundancy
    embedding_std: float | None = None  # mean over the features of their standard deviation, 0 if constant
    effective_rank: float | None = None  # of the embeddings of a rank's rows, 1 if all features are the same
    knn_accuracy: float | None = None  # share of the held-out images, in [0, 1]


class MetricsFile:
    """The file of a run's metrics, open for the steps to come; a context manager.

    Args:
        path: JSON lines; those of steps after ``done_steps``, which are done again, are dropped.
        done_steps: Steps already done.

    Raises:
        TrainerError: it cannot be written.
    """

    def __init__(self, path: Path, done_steps: int) -> None:
        self._path = path
        kept = [entry for entry in read_metrics(path) if entry.step <= done_steps]
        if len(kept) < done_steps and kept:
            # Lines can be lost to a power cut, and a run needs none of them to go on.
            print(f"warning: {path} lacks {done_steps - len(kept)} of {done_steps} steps", file=sys.stderr)
        write_atomically(path, lambda temporary: temporary.write_text("".join(map(_line, kept))))
        self._file = path.open("a")

    def append(self, metrics: StepMetrics) -> None:
        """Write a step's line.

        Raises:
            TrainerError: the disk refuses.
        """
        try:
            self._file.write(_line(metrics))
            self._file.flush()
        except OSError as error:
            raise TrainerError(f"cannot write {self._path}: {error.strerror}") from error

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what could not be written was said before."""
        try:
            self._file.close()
        except OSError:
            pass


def _line(metrics: StepMetrics) -> str:
    # JSON has neither NaN nor Inf.
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(metrics).items()
    }
    return json.dumps(values) + "\n"


def read_metrics(path: Path) -> list[StepMetrics]:
    """Return the recorded steps; none if there is no such file.

    A last line that is not whole, as a killed process leaves it, is passed over.

    Raises:
        TrainerError: another line is no step's.
    """
    if not path.exists():
        return []
    names = {entry.name for entry in fields(StepMetrics)}
    lines = path.read_text().splitlines()
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict) or not values.keys() <= names:
                raise ValueError
            steps.append(StepMetrics(**values))
        except (ValueError, TypeError):
            if number < len(lines):
                raise TrainerError(f"line {number} of {path} is no step of this trainer's") from None
    return steps
