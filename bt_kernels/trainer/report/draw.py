"""All pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import Views
from bt_kernels.trainer.evaluate.few_labels import centre_and_normalise
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.report.pictures import correlation, curves, embedding, images
from bt_kernels.trainer.report.subject import Sample, as_pictures, correlation_of
from bt_kernels.trainer.run.metrics import StepMetrics

SHOWN_VIEWS = 10
SHOWN_QUERIES = 6
SHOWN_NEIGHBOURS = 5
LEAST_FOR_FEATURES = 8  # images, for t-SNE and neighbours


def draw_curves(folder: Path, metrics: list[StepMetrics], config: Config) -> None:
    """Draw what was measured over the steps, as far as the run has come."""
    if metrics:
        curves.draw_loss_curves(folder / "loss_curves.png", metrics, config.lambd)
    if any(entry.effective_rank is not None for entry in metrics):
        curves.draw_statistics(folder / "statistics.png", metrics)


def draw_views(folder: Path, networks: Mapping[str, BarlowTwinsNetwork], batches: list[Views], device: torch.device) -> None:
    """Draw the augmentation, and C before and after training."""
    first = batches[0]
    pictures = (as_pictures(view[:SHOWN_VIEWS]) for view in (first.a, first.b))
    images.draw_augmented_views(folder / "augmented_views.png", *pictures)
    correlation.draw_cross_correlation(
        folder / "cross_correlation.png",
        correlation_of(networks["untrained"], batches, device),
        correlation_of(networks["trained"], batches, device),
    )


def draw_features(
    folder: Path, features: Mapping[str, tuple[np.ndarray, np.ndarray]], sample: Sample, config: Config
) -> None:
    """Draw the held-out images by their features, before and after training."""
    if len(sample.test_labels) < LEAST_FOR_FEATURES:
        return
    normalised = {name: centre_and_normalise(*features[name])[1] for name in ("untrained", "trained")}
    embedding.draw_embedding(
        folder / "embedding.png",
        *(embedding.embed_2d(rows, config.seed) for rows in normalised.values()),
        sample.test_labels,
        digits=config.data == "digits",
    )
    # One query of each of the first classes, and then, where there are fewer, others.
    _, firsts = np.unique(sample.test_labels, return_index=True)
    others = np.setdiff1d(np.arange(len(sample.test_labels)), firsts)
    queries = np.concatenate([firsts, others])[:SHOWN_QUERIES]
    images.draw_neighbours(
        folder / "neighbours.png",
        as_pictures(sample.test_images),
        sample.test_labels,
        queries,
        {
            name: images.nearest_neighbours(rows, queries, SHOWN_NEIGHBOURS)
            for name, rows in normalised.items()
        },
    )
