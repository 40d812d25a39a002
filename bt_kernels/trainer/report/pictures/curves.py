"""What was measured over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from bt_kernels.trainer.report.pictures.style import STYLE, save
from bt_kernels.trainer.run.metrics import StepMetrics

# By the metrics' names: the label, and whether the values are shares in [0, 1].
STATISTICS = {
    "mean_correlation": ("mean $C_{ii}$", True),
    "off_diagonal_rms": ("off-diagonal RMS", True),
    "embedding_std": ("embedding std", False),
    "effective_rank": ("effective rank", False),
    "knn_accuracy": ("kNN accuracy", True),
}
_MOST_POINTS = 4000
_FEW_POINTS = 60  # are marked


def running_mean(values: np.ndarray) -> np.ndarray:
    """Return the means over all windows of 1/30 of the values, (N,) to (N - window + 1,)."""
    window = max(1, len(values) // 30)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[window:] - sums[:-window]) / window


def thinned(*curves: np.ndarray) -> list[np.ndarray]:
    """Return every n-th value of curves of one length, so that the picture stays small: (N,) each."""
    return [curve[:: -(-len(curve) // _MOST_POINTS)] for curve in curves]


def draw_loss_curves(path: Path, metrics: Sequence[StepMetrics], lambd: float) -> None:
    """Draw the loss with its two weighted terms, and the learning rate, over the steps."""
    steps, loss, on_diagonal, off_diagonal, learning_rate = np.array(
        [(entry.step, entry.loss, entry.on_diagonal, entry.off_diagonal, entry.learning_rate) for entry in metrics]
    ).T
    curves = {
        "loss": (loss, "#222222"),
        "on-diagonal (invariance)": (on_diagonal, "#0b6e4f"),
        "λ · off-diagonal (redundancy)": (lambd * off_diagonal, "#b5382f"),
    }
    with plt.rc_context(STYLE):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(7, 4.8), sharex=True, height_ratios=(4, 1), layout="constrained"
        )
        for label, (values, colour) in curves.items():
            top.plot(*thinned(steps, values), color=colour, linewidth=0.6, alpha=0.3)
            means = thinned(running_mean(steps), running_mean(values))
            top.plot(*means, color=colour, label=label, linewidth=1.8, marker=_marker(len(steps)), markersize=2.5)
        top.set(yscale="log", ylabel="Barlow Twins loss")
        top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        top.yaxis.set_minor_locator(NullLocator())
        top.yaxis.set_major_formatter(ScalarFormatter())
        top.grid(alpha=0.25, linewidth=0.5)
        top.legend()
        rate = thinned(steps, learning_rate)
        bottom.plot(*rate, color="#4464ad", linewidth=1.4, marker=_marker(len(steps)), markersize=2.5)
        bottom.set(xlabel="step", ylabel="learning\nrate", xlim=(steps[0] - 1, steps[-1]), ylim=(0, None))
        bottom.grid(alpha=0.25, linewidth=0.5)
        save(figure, path)


def draw_statistics(path: Path, metrics: Sequence[StepMetrics]) -> None:
    """Draw the embeddings' statistics and the nearest-neighbour accuracy, as far as they were measured."""
    measured = {
        name: [(entry.step, getattr(entry, name)) for entry in metrics if getattr(entry, name) is not None]
        for name in STATISTICS
    }
    panels = [name for name, points in measured.items() if points]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(7, 1.45 * len(panels)), sharex=True, squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes.flat, panels, strict=True):
            label, share = STATISTICS[name]
            steps, values = thinned(*np.array(measured[name]).T)
            marker = _marker(len(steps))
            axis.plot(steps, values, color="#0b6e4f", linewidth=1.4, marker=marker, markersize=2.5)
            axis.set_title(label, fontsize=10, loc="left")
            axis.set_ylim((min(0, values.min()), 1.02) if share else (0, values.max() * 1.1 or 1))
            axis.grid(alpha=0.25, linewidth=0.5)
        axes[-1, 0].set_xlabel("step")
        save(figure, path)


def _marker(points: int) -> str:
    return "o" if points < _FEW_POINTS else ""
