"""The held-out images' features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.manifold import TSNE

from bt_kernels.trainer.report.pictures.style import STYLE, save

_PERPLEXITY = 30
_LONGEST_NAME = 18


def embed_2d(features: np.ndarray, seed: int) -> np.ndarray:
    """Return a 2-d t-SNE embedding of normalised features: (N, F) to (N, 2), N >= 4."""
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)


def draw_embedding(
    path: Path, before: np.ndarray, after: np.ndarray, labels: np.ndarray, names: Mapping[int, str] | None
) -> None:
    """Draw 2-d embeddings, (N, 2), of images before and after training, in the colours of their classes.

    Args:
        path: Destination.
        before: Of the untrained network.
        after: Of the trained network.
        labels: (N,) int64, of at most 20 classes.
        names: What the classes are called; None for digits, where a point is its digit.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.8), layout="constrained")
        for axis, points, title in zip(
            axes, (before, after), ("untrained network", "trained without labels"), strict=True
        ):
            if names is None:
                _draw_digits(axis, points, labels)
            else:
                _draw_dots(axis, points, labels, names)
            axis.set(xticks=[], yticks=[], title=title)
            axis.spines[:].set_visible(True)
            axis.spines[:].set_color("#cccccc")
        if names is not None:
            handles, texts = axes[0].get_legend_handles_labels()
            figure.legend(handles, texts, loc="outside lower center", ncols=5, markerscale=2, fontsize=9)
        figure.suptitle("t-SNE of the held-out images' frozen features", fontsize=11)
        save(figure, path)


def _draw_dots(axis: Axes, points: np.ndarray, labels: np.ndarray, names: Mapping[int, str]) -> None:
    classes = np.unique(labels)
    palette = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for number, label in enumerate(classes):
        own = points[labels == label]
        axis.scatter(
            own[:, 0], own[:, 1], s=12, color=palette(number), linewidths=0, label=shorten(names[int(label)])
        )


def shorten(name: str) -> str:
    """Return a name that five of fit side by side."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _draw_digits(axis: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    palette = matplotlib.colormaps["tab10"]
    for digit in np.unique(labels):
        own = points[labels == digit]
        axis.scatter(own[:, 0], own[:, 1], s=42, marker=f"${digit}$", color=palette(int(digit)), linewidths=0.3)
