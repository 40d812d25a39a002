"""All pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import TrainingData
from bt_kernels.trainer.evaluate.few_labels import centre_and_normalise
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.report.pictures import correlation, curves, embedding, images
from bt_kernels.trainer.report.subject import LabelledSample, as_pictures, correlation_of, originals, some_views
from bt_kernels.trainer.run.metrics import StepMetrics

SHOWN_VIEWS = 10
SHOWN_QUERIES = 6
SHOWN_NEIGHBOURS = 5


def draw_curves(folder: Path, metrics: list[StepMetrics], config: Config) -> None:
    """Draw what was measured over the steps, as far as the run has come."""
    if metrics:
        curves.draw_loss_curves(folder / "loss_curves.png", metrics, config.lambd)
    if any(getattr(entry, name) is not None for entry in metrics for name in curves.STATISTICS):
        curves.draw_statistics(folder / "statistics.png", metrics)


def draw_views(
    folder: Path,
    networks: Mapping[str, BarlowTwinsNetwork],
    config: Config,
    data: TrainingData,
    sample: LabelledSample | None,
    device: torch.device,
) -> None:
    """Draw the augmentation, and C before and after training.

    Args:
        folder: Destination.
        networks: "untrained" and "trained", on ``device``.
        config: The run's options, those that ``data`` were opened with.
        data: What was trained on.
        sample: To show images beside their views.
        device: Where to evaluate.
    """
    batches = some_views(data)
    first = batches[0]
    rows = {"image": originals(config, data, sample, SHOWN_VIEWS), "view A": first.a, "view B": first.b}
    shown = {name: as_pictures(row[:SHOWN_VIEWS]) for name, row in rows.items() if row is not None}
    images.draw_augmented_views(folder / "augmented_views.png", shown)
    correlation.draw_cross_correlation(
        folder / "cross_correlation.png",
        correlation_of(networks["untrained"], batches, device),
        correlation_of(networks["trained"], batches, device),
    )


def draw_features(
    folder: Path, features: Mapping[str, tuple[np.ndarray, np.ndarray]], sample: LabelledSample, config: Config
) -> None:
    """Draw the held-out images by their features, before and after training."""
    labels = sample.test_labels
    normalised = {name: centre_and_normalise(*features[name])[1] for name in ("untrained", "trained")}
    embedding.draw_embedding(
        folder / "embedding.png",
        embedding.embed_2d(normalised["untrained"], config.seed),
        embedding.embed_2d(normalised["trained"], config.seed),
        labels,
        names=None if config.data == "digits" else sample.test_classes,
    )
    # One query of each of the first classes, and then, where there are fewer, others.
    everyone = np.arange(len(labels))
    _, firsts = np.unique(labels, return_index=True)
    queries = np.concatenate([firsts, np.setdiff1d(everyone, firsts)])[:SHOWN_QUERIES]
    images.draw_neighbours(
        folder / "neighbours.png",
        as_pictures(sample.test_images),
        labels,
        queries,
        {name: images.nearest_neighbours(rows, everyone, SHOWN_NEIGHBOURS) for name, rows in normalised.items()},
    )
