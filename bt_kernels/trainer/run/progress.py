"""What a run shows and records while it trains: a bar on a terminal, else plain lines; always JSON lines."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import TracebackType

from tqdm import tqdm
from typing_extensions import Self

from bt_kernels.trainer.run.metrics import MetricsFile, StepMetrics
from bt_kernels.trainer.run.tensorboard import TensorBoard

_BAR = "{desc} |{bar}| {rate_fmt}, {remaining} left"


class Progress:
    """Context manager that reports and records steps.

    Args:
        metrics: JSON-lines file; entries after ``done_steps`` are dropped, their steps are done again.
        done_steps: Steps already done.
        total_steps: Steps of the whole run.
        epochs: Epochs of the whole run.
        batch_size: Images per step.
        tensorboard: Folder of TensorBoard's event files; None for none.

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
    ) -> None:
        self._file = MetricsFile(metrics, done_steps)
        self._board = TensorBoard(tensorboard, done_steps) if tensorboard is not None else None
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
        if self._board is not None:
            self._board.close()

    def log(self, metrics: StepMetrics) -> None:
        """Record a step; show it on the bar, or as a line at the end of its epoch."""
        self._file.append(metrics)
        if self._board is not None:
            self._board.append(metrics)
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

    def sync(self) -> None:
        """Return when the recorded steps are on the disk."""
        self._file.sync()


def describe(metrics: StepMetrics, epochs: int) -> str:
    """One line for a step: epoch, loss and its two terms, and what was measured in it."""
    line = (
        f"epoch {metrics.epoch:{len(str(epochs))}d}/{epochs} loss {metrics.loss:5.1f} "
        f"on {metrics.on_diagonal:5.1f} off {metrics.off_diagonal:5.0f}"
    )
    if metrics.effective_rank is not None:
        line += f" rank {metrics.effective_rank:.0f}"
    if metrics.knn_accuracy is not None:
        line += f" kNN {100 * metrics.knn_accuracy:.1f} %"
    if metrics.unreadable_images:
        line += f" unreadable {metrics.unreadable_images}"
    return line
