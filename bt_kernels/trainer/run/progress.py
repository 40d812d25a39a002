"""What a run shows and records while it trains: a bar on a terminal, else plain lines; always JSON lines."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm
from typing_extensions import Self

from bt_kernels.trainer.run.metrics import MetricsFile, StepMetrics
from bt_kernels.trainer.run.tensorboard import TensorBoard

_BAR = "{desc} |{bar}| {rate_fmt}, {remaining} left"
_LONGEST_SILENCE = 60.0  # seconds between two lines where there is no bar


class Progress:
    """Context manager that reports and records steps.

    Args:
        metrics: JSON-lines file; entries after ``done_steps`` are dropped, their steps are done again.
        done_steps: Steps already done.
        total_steps: Steps of the whole run.
        epochs: Epochs of the whole run.
        batch_size: Images per step.
        tensorboard: Folder of TensorBoard's event files; None for none.
        ahead: By how much the position in the epochs is ahead of the steps done.

    Raises:
        TrainerError: a file cannot be written, or a package is missing.
    """

    def __init__(
        self,
        metrics: Path,
        done_steps: int,
        total_steps: int,
        epochs: int,
        batch_size: int,
        tensorboard: Path | None = None,
        ahead: int = 0,
    ) -> None:
        self._file = MetricsFile(metrics, done_steps)
        self._board = TensorBoard(tensorboard, done_steps) if tensorboard is not None else None
        self._epochs = epochs
        self._batch_size = batch_size
        self._steps_per_epoch = (total_steps + ahead) // epochs
        self._ahead = ahead
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
        self._shown_step = done_steps
        self._latest_line = time.perf_counter()
        self._begin: tuple[int, float] | None = None  # this part's first step and when it was done
        self._measured: dict[str, Any] = {}  # since the last line, or the latest on the bar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def log(self, metrics: StepMetrics) -> None:
        """Record a step; show its epoch's means on the bar, or in a line at the end and at least once a minute."""
        self.record(metrics)
        if self._board is not None:
            self._board.append(metrics)
        self._measured |= {name: value for name in _SOMETIMES if (value := getattr(metrics, name)) is not None}
        mean = self._file.mean
        line = describe(replace(mean.of(metrics), **self._measured), self._epochs, mean.waiting)
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(self._batch_size * (metrics.step - self._shown_step))
        self._shown_step = metrics.step
        now = time.perf_counter()
        self._begin = self._begin or (metrics.step, now)
        if self._terminal:
            return
        of_epoch = (metrics.step + self._ahead) % self._steps_per_epoch
        if of_epoch == 0 or now - self._latest_line >= _LONGEST_SILENCE:
            position = f" step {of_epoch}/{self._steps_per_epoch}" if of_epoch else ""
            if mean.steps < (of_epoch or self._steps_per_epoch):  # the record of others is lost
                position += f" (means of {mean.steps} steps)"
            print(f"{line}{position}  {self._pace(metrics.step, now)}".rstrip(), file=sys.stderr, flush=True)
            self._latest_line = now
            self._measured = {}

    def record(self, metrics: StepMetrics) -> None:
        """Write a step's line, without showing it; ``log`` of the same step replaces it."""
        self._file.append(metrics)

    @property
    def last(self) -> StepMetrics | None:
        """The last step on record."""
        return self._file.last

    def _pace(self, step: int, now: float) -> str:
        """Images per second and the time left, by the clock: with all that goes on between the steps, too."""
        assert self._begin is not None
        steps, seconds = step - self._begin[0], now - self._begin[1]
        if steps == 0 or seconds == 0:
            return ""
        left = tqdm.format_interval((self._total_steps - step) * seconds / steps)
        return f"{steps * self._batch_size / seconds:.0f} images/s, {left} left"

    def sync(self) -> None:
        """Return when the recorded steps are on the disk."""
        self._file.sync()


_SOMETIMES = ("effective_rank", "knn_accuracy")


def describe(metrics: StepMetrics, epochs: int, waiting: float) -> str:
    """One line: epoch, loss and its two terms, what was measured, and the share of the time spent waiting."""
    line = (
        f"epoch {metrics.epoch:{len(str(epochs))}d}/{epochs} loss {metrics.loss:5.1f} "
        f"on-diag {metrics.on_diagonal:5.1f} off-diag {metrics.off_diagonal:5.0f}"
    )
    if metrics.effective_rank is not None:
        line += f" eff. rank {metrics.effective_rank:.0f}"
    if metrics.knn_accuracy is not None:
        line += f" kNN {100 * metrics.knn_accuracy:.1f} %"
    if metrics.unreadable_images:
        line += f" unreadable {metrics.unreadable_images}"
    return f"{line} waiting {100 * waiting:.0f} %"
