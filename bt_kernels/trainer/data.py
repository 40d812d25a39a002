"""The images: scikit-learn's 1,797 handwritten digits, split once, and the order they are visited in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

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
            mixed_seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
            self._order = torch.randperm(self.images, generator=torch.Generator().manual_seed(mixed_seed))
            self._epoch = epoch
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]
