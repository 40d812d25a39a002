"""The cross-correlation matrix before and after training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bt_kernels.trainer.report.pictures.style import STYLE, save

SHOWN_FEATURES = 64


@dataclass(frozen=True)
class Correlation:
    """A corner of the cross-correlation matrix C, (D, D), and statistics of all of it."""

    corner: np.ndarray  # (d, d), of the first features
    features: int  # D
    mean_diagonal: float
    off_diagonal_rms: float


def draw_cross_correlation(path: Path, before: Correlation, after: Correlation) -> None:
    """Draw C of the untrained and of the trained network: a corner of it, so that a cell is visible."""
    with plt.rc_context({**STYLE, "axes.spines.top": True, "axes.spines.right": True}):
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.9), layout="constrained")
        for axis, matrix, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
            image = axis.imshow(matrix.corner, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(
                f"{title}\nmean diagonal {matrix.mean_diagonal:.2f}, "
                f"off-diagonal RMS {matrix.off_diagonal_rms:.2f}",
                fontsize=10,
            )
            axis.set(xlabel="feature of view B", ylabel="feature of view A")
        figure.colorbar(image, ax=axes, label="correlation", shrink=0.85)
        figure.suptitle(
            f"cross-correlation of two views' embeddings, first {len(after.corner)} of {after.features} features"
        )
        save(figure, path)
