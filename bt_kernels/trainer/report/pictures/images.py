"""Pictures made of images: augmented views, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bt_kernels.trainer.report.pictures.style import FRAMELESS, save, show_image

_SAME, _OTHER = "#0b6e4f", "#b5382f"


def draw_augmented_views(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """Draw images, their views and the like, each (N, H, W, C) in [0, 1], a column for an image."""
    count = min(map(len, rows.values()))
    with plt.rc_context(FRAMELESS):
        figure, axes = plt.subplots(len(rows), count, figsize=(count, len(rows)), squeeze=False)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.06, hspace=0.06)
        for row, (name, images) in zip(axes, rows.items(), strict=True):
            for axis, image in zip(row, images, strict=False):
                show_image(axis, image)
            row[0].set_ylabel(name)
        save(figure, path)


def nearest_neighbours(features: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the images most similar to each query, by cosine, without itself.

    Args:
        features: (N, F), N > count.
        queries: (Q,) indices.
        count: Neighbours of each.

    Returns:
        (Q, count), the most similar first.
    """
    rows = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    similarities = rows[queries] @ rows.T
    similarities[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def same_class_share(labels: np.ndarray, neighbours: np.ndarray) -> float:
    """Return the share of the neighbours of all images, (N, K) indices, that are of the image's class, (N,)."""
    return float(np.mean(labels[neighbours] == labels[:, None]))


def draw_neighbours(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    neighbours: Mapping[str, np.ndarray],
) -> None:
    """Draw queries and, in a frame that tells whether the class is the same, their nearest neighbours.

    Args:
        path: Destination.
        images: (N, H, W, C) in [0, 1].
        labels: (N,) int64.
        queries: (Q,) indices of images.
        neighbours: Of each network, (N, K) indices: the nearest of every image.
    """
    groups = list(neighbours.items())
    count = groups[0][1].shape[1]
    gap = 0.35  # of an image's width, between the groups
    columns = [1.0] + [width for _ in groups for width in (gap, *[1.0] * count)]
    with plt.rc_context(FRAMELESS):
        figure, axes = plt.subplots(
            len(queries),
            len(columns),
            figsize=(0.8 * sum(columns), 0.84 * len(queries) + 0.6),
            width_ratios=columns,
            squeeze=False,
        )
        figure.subplots_adjust(left=0, right=1, bottom=0.07, top=0.92, wspace=0.1, hspace=0.1)
        for row, query in enumerate(queries):
            show_image(axes[row, 0], images[query])
            for number, (_, indices) in enumerate(groups):
                start = 1 + number * (count + 1)
                axes[row, start].set_axis_off()
                for axis, index in zip(axes[row, start + 1 :], indices[query], strict=False):
                    show_image(axis, images[index])
                    axis.spines[:].set_visible(True)
                    axis.spines[:].set_linewidth(2)
                    axis.spines[:].set_color(_SAME if labels[index] == labels[query] else _OTHER)
        axes[0, 0].set_title("query", fontsize=10)
        for number, (name, indices) in enumerate(groups):
            middle = axes[0, 2 + number * (count + 1) + count // 2]
            share = 100 * same_class_share(labels, indices)
            middle.set_title(f"{name} network: {share:.0f} % of all images' {count} nearest", fontsize=10)
        figure.text(
            0.5,
            0.0,
            "% and green frames: of the same class; red: of another",
            ha="center",
            fontsize=9,
            color="#555555",
        )
        save(figure, path)
