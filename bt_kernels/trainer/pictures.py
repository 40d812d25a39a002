"""The pictures of a run, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from sklearn.manifold import TSNE
from torch import Tensor

from bt_kernels.trainer.evaluate import Accuracy
from bt_kernels.trainer.progress import StepMetrics

_STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
_COLOURS = {"trained": "#0b6e4f", "untrained": "#9a9a9a", "pixels": "#d9822b"}
_DPI = 150
_SHOWN_FEATURES = 64


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    plt.close(figure)


def _running_mean(steps: Sequence[int], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of 1/30 of the run, with the steps they are centred on."""
    window = max(1, len(values) // 30)
    kernel = np.full(window, 1 / window)
    return np.convolve(steps, kernel, mode="valid"), np.convolve(values, kernel, mode="valid")


def draw_loss_curves(path: Path, metrics: Sequence[StepMetrics], lambd: float) -> None:
    """Draw the loss with its two weighted terms, and the learning rate, over the steps."""
    steps = [entry.step for entry in metrics]
    curves = {
        "loss": ([entry.loss for entry in metrics], "#222222"),
        "on-diagonal (invariance)": ([entry.on_diagonal for entry in metrics], "#0b6e4f"),
        "λ · off-diagonal (redundancy)": ([lambd * entry.off_diagonal for entry in metrics], "#b5382f"),
    }
    with plt.rc_context(_STYLE):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(7, 4.8), sharex=True, height_ratios=(4, 1), layout="constrained"
        )
        for label, (values, colour) in curves.items():
            top.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
            top.plot(*_running_mean(steps, values), color=colour, label=label, linewidth=1.8)
        top.set(yscale="log", ylabel="Barlow Twins loss")
        top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        top.yaxis.set_minor_locator(NullLocator())
        top.yaxis.set_major_formatter(ScalarFormatter())
        top.grid(alpha=0.25, linewidth=0.5)
        top.legend()
        bottom.plot(steps, [entry.learning_rate for entry in metrics], color="#4464ad", linewidth=1.4)
        bottom.set(xlabel="step", ylabel="learning\nrate", xlim=(0, steps[-1]), ylim=(0, None))
        bottom.grid(alpha=0.25, linewidth=0.5)
        _save(figure, path)


def draw_cross_correlation(path: Path, before: np.ndarray, after: np.ndarray) -> None:
    """Draw the cross-correlation matrix, (D, D), of the untrained and the trained network as heat maps.

    The maps show the first features, so that a cell is visible; the numbers are over all of them.
    """
    shown = min(_SHOWN_FEATURES, len(before))
    with plt.rc_context({**_STYLE, "axes.spines.top": True, "axes.spines.right": True}):
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.9), layout="constrained")
        for axis, matrix, title in zip(axes, (before, after), ("before training", "after training")):
            image = axis.imshow(
                matrix[:shown, :shown], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
            )
            diagonal = np.diag(matrix)
            off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
            axis.set_title(
                f"{title}\nmean diagonal {diagonal.mean():.2f}, "
                f"off-diagonal RMS {np.sqrt(np.mean(off_diagonal**2)):.2f}",
                fontsize=10,
            )
            axis.set(xlabel="feature of view B", ylabel="feature of view A")
        figure.colorbar(image, ax=axes, label="correlation", shrink=0.85)
        figure.suptitle(
            f"cross-correlation of two views' embeddings, first {shown} of {len(before)} features"
        )
        _save(figure, path)


def embed_2d(features: np.ndarray, seed: int) -> np.ndarray:
    """Return a 2-d t-SNE embedding of normalised features: (N, F) to (N, 2)."""
    return TSNE(n_components=2, init="pca", perplexity=30, random_state=seed).fit_transform(features)


def draw_embedding(path: Path, before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> None:
    """Draw 2-d embeddings, (N, 2), of the test images before and after training; a point is its digit."""
    palette = matplotlib.colormaps["tab10"]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.8), layout="constrained")
        for axis, points, title in zip(
            axes, (before, after), ("untrained network", "trained without labels")
        ):
            _draw_digits(axis, points, labels, palette)
            axis.set_title(title)
        figure.suptitle("t-SNE of the held-out images' frozen features", fontsize=11)
        _save(figure, path)


def _draw_digits(
    axis: Axes, points: np.ndarray, labels: np.ndarray, palette: matplotlib.colors.Colormap
) -> None:
    for digit in np.unique(labels):
        own = points[labels == digit]
        axis.scatter(
            own[:, 0], own[:, 1], s=42, marker=f"${digit}$", color=palette(int(digit)), linewidths=0.3
        )
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#cccccc")


def draw_augmented_views(path: Path, images: Tensor, view_a: Tensor, view_b: Tensor) -> None:
    """Draw images and their two views, each (N, 1, S, S), one image per column."""
    rows = {"image": images, "view A": view_a, "view B": view_b}
    count = len(images)
    with plt.rc_context({**_STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure, axes = plt.subplots(3, count, figsize=(count, 3), squeeze=False)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.06, hspace=0.06)
        for row, (name, batch) in zip(axes, rows.items()):
            for axis, image in zip(row, batch):
                axis.imshow(image[0].cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
            row[0].set_ylabel(name)
        _save(figure, path)


def draw_accuracies(path: Path, accuracies: Mapping[str, Mapping[str, Accuracy]]) -> None:
    """Draw the held-out accuracy by labels per class, a bar per representation, with its spread."""
    columns = [labels for labels in next(iter(accuracies.values())) if labels != "all"]
    width = 0.26
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
        for place, (name, by_labels) in enumerate(accuracies.items()):
            means = [100 * by_labels[column].mean for column in columns]
            errors = [100 * by_labels[column].std for column in columns]
            x = np.arange(len(columns)) + (place - (len(accuracies) - 1) / 2) * width
            axis.bar(x, means, width * 0.92, label=name, color=_COLOURS[name])
            axis.errorbar(x, means, errors, fmt="none", ecolor="#333333", elinewidth=1, capsize=2.5)
            for position, mean, error in zip(x, means, errors):
                axis.text(position, mean + error + 1.2, f"{mean:.0f}", ha="center", fontsize=8.5)
        axis.set_xticks(np.arange(len(columns)), columns)
        axis.set(xlabel="labels per class", ylabel="accuracy on held-out digits (%)", ylim=(0, 108))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(accuracies))
        _save(figure, path)
