"""What the pictures of a run are of: its two networks, some images with labels, some views without."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bt_kernels import barlow_twins_terms, cross_correlation_blocks
from bt_kernels.trainer.augmentation.photographs import IMAGENET_MEAN, IMAGENET_STD
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.parts import UNLABELLED
from bt_kernels.trainer.data import LabelledImages, TrainingData, Views, open_labelled
from bt_kernels.trainer.data.digits import ShuffledBatches
from bt_kernels.trainer.data.images import lacking_labels
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.few_labels import frozen_features
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.report.pictures.correlation import SHOWN_FEATURES, Correlation
from bt_kernels.trainer.training.accumulation import buffers_kept
from bt_kernels.trainer.training.health import measure

MOST_IMAGES = 1000  # of a part; t-SNE takes seconds for so many, and 1,000 photographs 600 MB
FEWEST_IMAGES = 8  # of a part, for t-SNE and neighbours
MOST_CLASSES = 20  # that colours tell apart
SHOWN_CLASSES = 10  # where there are more
MOST_PAIRS = 1000  # of views
BATCH = 256


@dataclass(frozen=True)
class LabelledSample:
    """Some of the labelled images of a data set, all of the digits; test images of at most 20 classes.

    Images are (N, C, S, S) float32 as the network takes them, labels (N,) int64.
    """

    train: LabelledImages  # all of them
    train_images: Tensor
    train_labels: np.ndarray
    test_images: Tensor
    test_labels: np.ndarray
    test_classes: dict[int, str]  # what the classes are called


def sample_of(config: Config) -> LabelledSample | None:
    """Return labelled images, drawn by the seed; None if the data set has none, or too few to be drawn.

    A held-out part that is missing or cannot be read must not keep a run from its end: that is said on stderr, and
    there are none, either.
    """
    if config.data in UNLABELLED:
        return None
    lacking = lacking_labels(config) if config.data == "imagefolder" else None
    if lacking is not None:
        print(f"no pictures of held-out images: {lacking}", file=sys.stderr)
        return None
    rng = np.random.default_rng(config.seed)
    try:
        train, test = (open_labelled(config, part) for part in ("train", "test"))
        train_images, train_labels = _read(train, _draw(np.arange(len(train.labels)), config, rng))
        classes: np.ndarray = np.arange(test.classes)
        if test.classes > MOST_CLASSES:
            classes = rng.permutation(classes)[:SHOWN_CLASSES]
        chosen = _draw(np.flatnonzero(np.isin(test.labels, classes)), config, rng)
        test_images, test_labels = _read(test, chosen)
    except TrainerError as error:
        print(f"warning: {error}; there will be no pictures of held-out images", file=sys.stderr)
        return None
    for part in (train, test):
        if part.unreadable:
            index, reason = min(part.unreadable.items())
            print(
                f"warning: the pictures leave out {len(part.unreadable)} images that cannot be read; the first is "
                f"{part.name(index)} ({reason})",
                file=sys.stderr,
            )
    if min(len(train_images), len(test_images)) < FEWEST_IMAGES:
        return None
    names = _class_names(test, np.unique(test_labels))
    return LabelledSample(train, train_images, train_labels, test_images, test_labels, names)


def _draw(indices: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    if config.data == "digits" or len(indices) <= MOST_IMAGES:
        return indices
    return np.sort(rng.permutation(indices)[:MOST_IMAGES])


def _read(part: LabelledImages, indices: np.ndarray) -> tuple[Tensor, np.ndarray]:
    images, labels = zip(*part.batches(indices, BATCH, augment=False, leave_out=True), strict=True)
    return torch.cat(images), torch.cat(labels).numpy()


def _class_names(part: LabelledImages, classes: np.ndarray) -> dict[int, str]:
    files = part.names
    if files is None:
        return {int(label): str(label) for label in classes}
    return {int(label): files[np.argmax(part.labels == label)].partition("/")[0] for label in classes}


def features_of(
    networks: Mapping[str, BarlowTwinsNetwork], sample: LabelledSample
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return every network's features of the training and of the test images, (N, F) and (M, F)."""
    count = len(sample.train_images)
    everything = torch.cat([sample.train_images, sample.test_images])
    # Batch norm takes no batch of one image, where its map is a single pixel.
    calibration = sample.train_images[: count - (count % BATCH == 1)]
    found = {}
    for name, network in networks.items():
        features = frozen_features(network, everything, calibration)
        found[name] = (features[:count], features[count:])
    return found


def some_views(data: TrainingData) -> list[Views]:
    """Return the views of the first steps, on the CPU, until there are enough of them; at most an epoch's."""
    chosen: list[Views] = []
    batches = data.views(0)
    for _ in range(data.steps_per_epoch):
        views = next(batches)
        chosen.append(Views(views.a.cpu(), views.b.cpu()))
        if sum(len(batch.a) for batch in chosen) >= MOST_PAIRS:
            break
    batches.close()
    return chosen


def originals(config: Config, data: TrainingData, sample: LabelledSample | None, count: int) -> Tensor | None:
    """Return the images that the first ``count`` views are of, (count, C, S, S), or None if they are not known."""
    if sample is None or len(sample.train.labels) != data.images:  # it pre-trains on images without labels, too
        return None
    first = ShuffledBatches(data.images, config.batch_size, config.seed)[0][:count]
    try:
        return torch.cat([images for images, _ in sample.train.batches(first.numpy(), BATCH, augment=False)])
    except TrainerError:  # one cannot be read, and its views are of another one
        return None


@torch.no_grad()
def correlation_of(network: BarlowTwinsNetwork, batches: list[Views], device: torch.device) -> Correlation:
    """Return what is shown of the cross-correlation of two views' embeddings, normalised as in training.

    Batch norm sees at most 256 views of a batch at a time: the whole batch may be too large for the memory.
    """
    training = network.training
    network.train()
    embeddings = []
    with buffers_kept(network):
        for batch in batches:
            parts = -(-len(batch.a) // BATCH)
            for pair in zip(batch.a.chunk(parts), batch.b.chunk(parts), strict=True):
                embeddings.append(network.forward(*(view.to(device) for view in pair)))  # never the compiled one
    network.train(training)
    z_a, z_b = (torch.cat(views).float() for views in zip(*embeddings, strict=True))
    terms = barlow_twins_terms(z_a, z_b, process_group=None)
    statistics = measure(z_a, z_b, terms.off_diagonal.item(), lambda sums: sums)
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
