"""What the pictures of a run are of: its two networks, some images with labels, some views without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bt_kernels import barlow_twins_loss, cross_correlation_blocks
from bt_kernels.trainer.augmentation.photographs import IMAGENET_MEAN, IMAGENET_STD
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.parts import UNLABELLED
from bt_kernels.trainer.data import TrainingData, Views, open_labelled
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.report.pictures.correlation import SHOWN_FEATURES, Correlation
from bt_kernels.trainer.training.accumulation import buffers_kept
from bt_kernels.trainer.training.health import measure

MOST_IMAGES = 1000  # of a part; t-SNE takes seconds for so many, and 1,000 photographs 600 MB
MOST_PAIRS = 1000  # of views


@dataclass(frozen=True)
class Sample:
    """Some of the labelled images of a data set, all of the digits.

    Images are (N, C, S, S) float32 as the network takes them, labels (N,) int64.
    """

    train_images: Tensor
    train_labels: np.ndarray
    test_images: Tensor
    test_labels: np.ndarray


def sample_of(config: Config) -> Sample | None:
    """Return labelled images, drawn by the seed; None if the data set has none.

    Raises:
        TrainerError: an image cannot be read.
    """
    if config.data in UNLABELLED:
        return None
    parts = []
    for name in ("train", "test"):
        part = open_labelled(config, name)
        indices = np.arange(len(part.labels))
        if config.data != "digits" and len(indices) > MOST_IMAGES:
            indices = np.sort(np.random.default_rng(config.seed).permutation(len(indices))[:MOST_IMAGES])
        batches = zip(*part.batches(indices, 256, augment=False, leave_out=True))
        images, labels = (torch.cat(batch) for batch in batches)
        parts += [images, labels.numpy()]
    return Sample(*parts)


def some_views(data: TrainingData, steps: int = 64) -> list[Views]:
    """Return the views of the first steps, on the CPU, until there are enough of them."""
    chosen: list[Views] = []
    batches = data.views(0)
    for _ in range(steps):
        views = next(batches)
        chosen.append(Views(views.a.cpu(), views.b.cpu()))
        if sum(len(batch.a) for batch in chosen) >= MOST_PAIRS:
            break
    batches.close()  # type: ignore[attr-defined]
    return chosen


@torch.no_grad()
def correlation_of(network: BarlowTwinsNetwork, batches: list[Views], device: torch.device) -> Correlation:
    """Return what is shown of the cross-correlation of two views' embeddings, normalised as in training."""
    training = network.training
    network.train()
    with buffers_kept(network):
        embeddings = [network(batch.a.to(device), batch.b.to(device)) for batch in batches]
    network.train(training)
    z_a, z_b = (torch.cat(views).float() for views in zip(*embeddings))
    off_diagonal = barlow_twins_loss(z_a, z_b, return_terms=True).off_diagonal.item()
    statistics = measure(z_a, z_b, off_diagonal, lambda sums: sums)
    corner = next(cross_correlation_blocks(z_a, z_b, rows=SHOWN_FEATURES))[:, :SHOWN_FEATURES]
    return Correlation(
        corner.cpu().numpy(), z_a.shape[1], statistics.mean_correlation, statistics.off_diagonal_rms
    )


def as_pictures(images: Tensor) -> np.ndarray:
    """Return images as a network takes them as (N, H, W, C) in [0, 1]."""
    images = images.float().cpu()
    if images.shape[1] == 3:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        images = images * std + mean
    return images.clamp(0, 1).permute(0, 2, 3, 1).numpy()


def features_of(networks: Mapping[str, nn.Module], sample: Sample) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return every network's features of the training and of the test images, (N, F) and (M, F)."""
    from bt_kernels.trainer.evaluate.few_labels import frozen_features

    everything = torch.cat([sample.train_images, sample.test_images])
    count = len(sample.train_images)
    found = {}
    for name, network in networks.items():
        features = frozen_features(network, everything, calibration=sample.train_images)
        found[name] = (features[:count], features[count:])
    return found
