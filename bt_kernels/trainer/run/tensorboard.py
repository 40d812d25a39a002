"""A run's metrics for TensorBoard."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.files import writing
from bt_kernels.trainer.run.metrics import StepMetrics


class TensorBoard:
    """Event files of a run's metrics, one scalar each.

    Args:
        folder: Of the event files.
        done_steps: Steps already done; what the files hold of later ones is hidden.

    Raises:
        TrainerError: the package tensorboard is missing, or the folder cannot be written.
    """

    def __init__(self, folder: Path, done_steps: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise TrainerError(
                f"--tensorboard needs the package {error.name}; run: pip install tensorboard"
            ) from None
        self._folder = folder
        with writing(self._folder):
            self._writer = SummaryWriter(str(folder), purge_step=done_steps + 1)

    def append(self, metrics: StepMetrics) -> None:
        """Write what a step measured.

        Raises:
            TrainerError: the disk refuses.
        """
        with writing(self._folder):
            for name, value in asdict(metrics).items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        """Write what is still in memory, if the disk takes it."""
        with suppress(OSError):
            self._writer.close()
