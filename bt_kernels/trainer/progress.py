"""What a run shows and records while it trains: a bar on a terminal, else plain lines; always JSON lines."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tqdm import tqdm
from typing_extensions import Self

from bt_kernels.trainer.errors import TrainerError

_BAR = "{desc} |{bar}| {rate_fmt}, {remaining} left"


@dataclass(frozen=True)
class StepMetrics:
    """What one training step measured."""

    step: int  # steps done, this one included
    epoch: int  # from 1
    loss: float
    on_diagonal: float  # Σ_i (1 − C_ii)², before any weight
    off_diagonal: float  # Σ_{i≠j} C_ij², before any weight
    learning_rate: float
    seconds: float  # of training, over all parts of a resumed run


class Progress:
    """Context manager that reports and records steps.

    Args:
        metrics: JSON-lines file; entries after ``done_steps`` are dropped, their steps are done again.
        done_steps: Steps already done.
        total_steps: Steps of the whole run.
        epochs: Epochs of the whole run.
        batch_size: Images per step.
    """

    def __init__(
        self, metrics: Path, done_steps: int, total_steps: int, epochs: int, batch_size: int
    ) -> None:
        self._drop_later_steps(metrics, done_steps)
        self._file = metrics.open("a")
        self._epochs = epochs
        self._batch_size = batch_size
        self._steps_per_epoch = total_steps // epochs
        self._terminal = sys.stderr.isatty()
        # On a terminal that does not tell its size, tqdm's own measurement would hide the bar.
        width, height = shutil.get_terminal_size()
        self._bar = tqdm(
            total=total_steps * batch_size,
            initial=done_steps * batch_size,
            unit=" images",
            unit_scale=True,
            bar_format=_BAR,
            disable=not self._terminal,
            ncols=width,
            nrows=height,
            mininterval=0.2,
        )
        self._total_steps = total_steps
        self._first: StepMetrics | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._file.close()

    def log(self, metrics: StepMetrics) -> None:
        """Record a step; show it on the bar, or as a line at the end of its epoch."""
        self._file.write(json.dumps(asdict(metrics)) + "\n")
        self._file.flush()
        self._bar.set_description_str(describe(metrics, self._epochs), refresh=False)
        self._bar.update(self._batch_size)
        self._first = self._first or metrics
        if not self._terminal and metrics.step % self._steps_per_epoch == 0:
            print(f"{describe(metrics, self._epochs)}  {self._pace(metrics)}", file=sys.stderr, flush=True)

    def _pace(self, metrics: StepMetrics) -> str:
        assert self._first is not None
        steps, seconds = metrics.step - self._first.step, metrics.seconds - self._first.seconds
        if steps == 0 or seconds == 0:
            return ""
        left = round((self._total_steps - metrics.step) * seconds / steps)
        return f"{steps * self._batch_size / seconds:.0f} images/s, {left // 60:02d}:{left % 60:02d} left"

    @staticmethod
    def _drop_later_steps(metrics: Path, done_steps: int) -> None:
        lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        if len(lines) < done_steps:
            raise TrainerError(
                f"{metrics} has fewer steps than the checkpoint; put the original back to resume"
            )
        metrics.write_text("".join(lines[:done_steps]))


def describe(metrics: StepMetrics, epochs: int) -> str:
    """One line for a step: epoch, loss and its two terms."""
    return (
        f"epoch {metrics.epoch:{len(str(epochs))}d}/{epochs} loss {metrics.loss:5.1f} "
        f"on {metrics.on_diagonal:5.1f} off {metrics.off_diagonal:5.0f}"
    )


def read_metrics(metrics: Path) -> list[StepMetrics]:
    """Return all recorded steps."""
    return [StepMetrics(**json.loads(line)) for line in metrics.read_text().splitlines()]
