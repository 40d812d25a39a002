"""What pre-training takes from its data: the two views of a batch, step by step."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.decoding import Unreadable
from bt_kernels.trainer.data.identity import DataIdentity
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes


@dataclass(frozen=True)
class Views:
    """This rank's rows of one step's batch, on its device.

    Views are (n, C, S, S) float32: C = 1 and values in [0, 1] for digits, C = 3 and normalized with ImageNet's
    mean and standard deviation for photographs. ``unreadable`` has those images of these rows that could not be
    read; another one of the same rows took the place of each.
    """

    a: Tensor
    b: Tensor
    unreadable: tuple[Unreadable, ...] = ()


class TrainingData(Protocol):
    """Unlabelled images, as endless batches of views."""

    images: int  # of an epoch
    steps_per_epoch: int
    description: str
    identity: DataIdentity
    notes: Sequence[str]  # what is to be said of it at the head of a run

    def views(self, first_step: int) -> Generator[Views, None, None]:
        """Return the views from a step on, counted from 0 over all epochs; closing the iterator ends its workers.

        Raises:
            DataError: while iterating: no image of a step's rows could be read, or a worker has died.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the next views depend on besides the step."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        ...


class Stateless:
    """Base of training data whose views depend on the step alone."""

    notes: Sequence[str] = ()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def check_batch(config: Config, images: int, processes: Processes) -> None:
    """Raise TrainerError if the batch is larger than the data set, or too small for its processes and chunks."""
    if config.batch_size > images:
        raise TrainerError(
            f"--batch-size {config.batch_size} is more than the {images} training images; lower --batch-size"
        )
    if config.batch_size < 2 * processes.size * config.accumulate:
        # With one image, batch norm on the CPU would see nothing but its two views.
        parts = f"{processes.size} processes"
        if config.accumulate > 1:
            parts = f"{config.accumulate} chunks on {parts}"
        raise TrainerError(
            f"--batch-size {config.batch_size} is less than 2 images for each of {parts}, which batch norm needs"
        )
