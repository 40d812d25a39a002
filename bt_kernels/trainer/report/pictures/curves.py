"""What was measured over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from bt_kernels.trainer.report.pictures.style import STYLE, save
from bt_kernels.trainer.run.metrics import StepMetrics

# Name, label and whether the values are shares in [0, 1].
_STATISTICS = (
    ("mean_correlation", "mean $C_{ii}$", True),
    ("off_diagonal_rms", "off-diagonal RMS", True),
    ("embedding_std", "embedding std", False),
    ("effective_rank", "effective rank", False),
    ("knn_accuracy", "kNN accuracy", True),
)


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
    with plt.rc_context(STYLE):
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
        save(figure, path)


def draw_statistics(path: Path, metrics: Sequence[StepMetrics]) -> None:
    """Draw the embeddings' statistics and the nearest-neighbour accuracy over the steps that they were measured in."""
    measured = {
        label: [(entry.step, getattr(entry, name)) for entry in metrics if getattr(entry, name) is not None]
        for name, label, _ in _STATISTICS
    }
    shares = {label for _, label, share in _STATISTICS if share}
    panels = [label for label, points in measured.items() if points]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(7, 1.45 * len(panels)), sharex=True, squeeze=False, layout="constrained"
        )
        for axis, label in zip(axes.flat, panels):
            steps, values = zip(*measured[label])
            axis.plot(steps, values, color="#0b6e4f", linewidth=1.4, marker="o", markersize=2.5)
            axis.set_title(label, fontsize=10, loc="left")
            axis.set_ylim(0, max(values) * 1.1 or 1)
            if label in shares:
                axis.set_ylim(min(0, *values), 1.02)
            axis.grid(alpha=0.25, linewidth=0.5)
        axes[-1, 0].set_xlabel("step")
        save(figure, path)
