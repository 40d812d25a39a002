"""The held-out images' features in two dimensions."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.manifold import TSNE

from bt_kernels.trainer.report.pictures.style import STYLE, save

_PERPLEXITY = 30


def embed_2d(features: np.ndarray, seed: int) -> np.ndarray:
    """Return a 2-d t-SNE embedding of normalised features: (N, F) to (N, 2), N >= 4."""
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)


def draw_embedding(
    path: Path, before: np.ndarray, after: np.ndarray, labels: np.ndarray, digits: bool
) -> None:
    """Draw 2-d embeddings, (N, 2), of images before and after training, in the colours of their classes.

    Args:
        path: Destination.
        before: Of the untrained network.
        after: Of the trained network.
        labels: (N,) int64.
        digits: A point is its digit, instead of a dot.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.8), layout="constrained")
        for axis, points, title in zip(
            axes, (before, after), ("untrained network", "trained without labels")
        ):
            if digits:
                _draw_digits(axis, points, labels)
            else:
                colours = "tab10" if labels.max() < 10 else "tab20" if labels.max() < 20 else "hsv"
                axis.scatter(*points.T, s=9, c=labels, cmap=colours, linewidths=0)
            axis.set(xticks=[], yticks=[], title=title)
            axis.spines[:].set_visible(True)
            axis.spines[:].set_color("#cccccc")
        figure.suptitle("t-SNE of the held-out images' frozen features", fontsize=11)
        save(figure, path)


def _draw_digits(axis: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    palette = matplotlib.colormaps["tab10"]
    for digit in np.unique(labels):
        own = points[labels == digit]
        axis.scatter(
            own[:, 0], own[:, 1], s=42, marker=f"${digit}$", color=palette(int(digit)), linewidths=0.3
        )
