"""What a step measured, the means over an epoch, and the file that keeps the steps: one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.files import write_atomically, writing


@dataclass(frozen=True)
class StepMetrics:
    """What one training step measured; what is not measured in every step is None in the others."""

    step: int  # steps done, this one included
    epoch: int  # from 1
    loss: float
    on_diagonal: float  # Σ_i (1 − C_ii)², before any weight
    off_diagonal: float  # Σ_{i≠j} C_ij², before any weight
    learning_rate: float  # of matrices and kernels
    seconds: float  # of training, over all parts of a resumed run, without what it waited for
    waiting_seconds: float = 0.0  # that it waited for its batches, over all parts
    unreadable_images: int = 0  # so far, replaced by others
    mean_correlation: float | None = None  # mean of C_ii, 1 for views that agree
    off_diagonal_rms: float | None = None  # root mean square of C_ij, i ≠ j, 0 for features without redundancy
    embedding_std: float | None = None  # mean over the features of their standard deviation, 0 if constant
    effective_rank: float | None = None  # of the embeddings of a rank's rows, 1 if all features are the same
    knn_accuracy: float | None = None  # share of the held-out images, in [0, 1]


_AVERAGED = ("loss", "on_diagonal", "off_diagonal")


class EpochMean:
    """The means over the steps of an epoch that were added; the first step of another epoch begins anew."""

    def __init__(self) -> None:
        self.steps = 0
        self._sums = dict.fromkeys(_AVERAGED, 0.0)
        self._epoch = self._step = 0
        self._times = self._times_before = (0.0, 0.0)  # of training and of waiting, so far and before the epoch

    def add(self, metrics: StepMetrics) -> None:
        """Take a step; one that was taken before, and has been measured further, counts once."""
        if metrics.step == self._step:
            return
        if metrics.epoch != self._epoch:
            self.steps, self._sums = 0, dict.fromkeys(_AVERAGED, 0.0)
            self._times_before = self._times
        self.steps += 1
        for name in _AVERAGED:
            self._sums[name] += getattr(metrics, name)
        self._epoch, self._step = metrics.epoch, metrics.step
        self._times = metrics.seconds, metrics.waiting_seconds

    def of(self, metrics: StepMetrics) -> StepMetrics:
        """Return the last step's metrics with the means in place of its loss and the loss's terms."""
        means: dict[str, Any] = {name: total / self.steps for name, total in self._sums.items()}
        return replace(metrics, **means)

    @property
    def waiting(self) -> float:
        """The share of the epoch's time, in [0, 1], that the training waited for its batches."""
        trained, waited = (now - before for now, before in zip(self._times, self._times_before, strict=True))
        return waited / (trained + waited) if waited > 0 else 0.0


class MetricsFile:
    """The file of a run's metrics, open for the steps to come.

    Lines of steps after ``done_steps``, which are done again, are dropped. Lines that were lost, to a power cut
    for one, are missed by nothing but the pictures: that is said on stderr, and the run goes on.

    ``last`` is the step of the last line, None if there is none; ``mean`` has the means of its epoch.

    Args:
        path: JSON lines.
        done_steps: Steps already done.

    Raises:
        TrainerError: it cannot be read or written.
    """

    def __init__(self, path: Path, done_steps: int) -> None:
        self._path = path
        self._latest: tuple[str, int, int] | None = None  # the line, its step, where it begins
        kept: list[StepMetrics] = []
        for entry in read_metrics(path):
            if (kept[-1].step if kept else 0) < entry.step <= done_steps:
                kept.append(entry)
        # A run that began with the weights of another one has no steps before its first line.
        lost = done_steps - kept[0].step + 1 - len(kept) if kept else 0
        if lost or (done_steps and not path.exists()):
            print(f"warning: {path} lacks {lost or done_steps} of {done_steps} steps", file=sys.stderr)
        write_atomically(path, lambda temporary: temporary.write_text("".join(map(_line, kept))))
        self.last = kept[-1] if kept else None
        self.mean = EpochMean()
        for entry in kept:
            self.mean.add(entry)
        with writing(self._path):
            self._file = path.open("a")
            if self.last is not None:
                line = _line(self.last)
                self._latest = line, self.last.step, self._file.tell() - len(line.encode())

    def append(self, metrics: StepMetrics) -> None:
        """Write a step's line; one of the step before it, which has been measured further, takes its place.

        Raises:
            TrainerError: the disk refuses.
        """
        with writing(self._path):
            line, begin = _line(metrics), self._file.tell()
            if self._latest is not None and self._latest[1] == metrics.step:
                if line == self._latest[0]:
                    return
                begin = self._latest[2]
                self._file.truncate(begin)
            self._file.write(line)
            self._file.flush()
            self._latest = line, metrics.step, begin
        self.last = metrics
        self.mean.add(metrics)

    def sync(self) -> None:
        """Return when all lines are on the disk.

        Raises:
            TrainerError: the disk refuses.
        """
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what could not be written was said before."""
        with suppress(OSError):
            self._file.close()


def _line(metrics: StepMetrics) -> str:
    # JSON has neither NaN nor Inf.
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(metrics).items()
    }
    return json.dumps(values) + "\n"


def read_metrics(path: Path) -> list[StepMetrics]:
    """Return the recorded steps, in order; none if there is no such file.

    Lines that are not whole, as a killed process or a power cut leaves them, are passed over.

    Raises:
        TrainerError: the file cannot be read.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error
    return [metrics for metrics in map(_parsed, lines) if metrics is not None]


def _parsed(line: str) -> StepMetrics | None:
    try:
        values = json.loads(line)
        metrics = StepMetrics(**{name: values[name] for name in _NAMES if name in values})
    except (ValueError, TypeError):
        return None
    if not isinstance(metrics.step, int):
        return None
    # What is null was not finite.
    unknown: dict[str, Any] = {name: math.nan for name in _ALWAYS if getattr(metrics, name) is None}
    return replace(metrics, **unknown)


_NAMES = [entry.name for entry in fields(StepMetrics)]
_ALWAYS = [entry.name for entry in fields(StepMetrics) if entry.default is MISSING]
