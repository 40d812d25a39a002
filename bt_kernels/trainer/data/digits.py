"""scikit-learn's 1,797 handwritten digits, split once; the order that a data set is visited in."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bt_kernels.trainer.augmentation.digits import TwoViews
from bt_kernels.trainer.augmentation.seeds import mixed_seed
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.identity import identity_of
from bt_kernels.trainer.data.views import Views, check_batch
from bt_kernels.trainer.parallel.processes import Processes

TEST_IMAGES = 500


@dataclass(frozen=True)
class Digits:
    """A stratified split of the digits.

    Images are (N, 1, S, S) float32 in [0, 1], labels (N,) int64 in 0..9, indices (N,) int64 positions in the
    full data set. Pre-training sees ``train_images`` only; labels are for the evaluation.
    """

    train_images: Tensor
    train_labels: np.ndarray
    train_indices: np.ndarray
    test_images: Tensor
    test_labels: np.ndarray
    test_indices: np.ndarray


def load_split(image_size: int, seed: int) -> Digits:
    """Load the digits, ``image_size`` pixels a side; 500 are held out, stratified by class."""
    from sklearn.datasets import load_digits  # slow to import, and of use to the digits alone
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16  # stored as counts 0..16
    if image_size != images.shape[-1]:
        images = F.interpolate(images, size=(image_size, image_size), mode="bicubic", align_corners=False)
    images = images.clamp(0.0, 1.0)  # bicubic interpolation overshoots
    train, test = train_test_split(
        np.arange(len(images)), test_size=TEST_IMAGES, stratify=digits.target, random_state=seed
    )
    return Digits(images[train], digits.target[train], train, images[test], digits.target[test], test)


class ShuffledBatches:
    """Indices of each step's batch: a new permutation every epoch, whole batches only.

    A permutation depends on the seed and the epoch alone, so a step number is the whole position of the
    sampler.

    Args:
        images: Number of images.
        batch_size: Images per batch, at most ``images``.
        seed: Seed of the permutations.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = images // batch_size
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def __getitem__(self, step: int) -> Tensor:
        """Return the indices of step ``step`` (counted from 0 over all epochs); (batch_size,) int64."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, epoch))
            self._order = torch.randperm(self.images, generator=generator)
            self._epoch = epoch
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


class DigitViews:
    """Two views of each digit of a batch. All ranks draw the whole batch's views, and each keeps its own rows of
    them, so the views are those of one process.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are made.

    Raises:
        TrainerError: the batch is larger than the data set, or too small for so many processes.
    """

    notes: Sequence[str] = ()

    def __init__(self, config: Config, processes: Processes, device: torch.device) -> None:
        images = load_split(config.image_size, config.seed).train_images
        check_batch(config, len(images), processes)
        self.images = len(images)
        self.description = f"{self.images} unlabelled digits"
        self.identity = identity_of([config.data], self.images)
        self._pixels = images.to(device)
        self._batches = ShuffledBatches(self.images, config.batch_size, config.seed)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self._own = processes.own_rows(config.batch_size)
        self._generator = torch.Generator().manual_seed(config.seed)
        self._two_views = TwoViews(self._generator)

    def views(self, first_step: int) -> Generator[Views, None, None]:
        for step in count(first_step):
            view_a, view_b = self._two_views(self._pixels[self._batches[step].to(self._pixels.device)])
            yield Views(view_a[self._own], view_b[self._own])

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["generator"])
