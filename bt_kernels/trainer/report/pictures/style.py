"""What the pictures have in common."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
FRAMELESS = {**STYLE, "axes.spines.left": False, "axes.spines.bottom": False}
COLOURS = {"trained": "#0b6e4f", "untrained": "#9a9a9a", "pixels": "#d9822b"}
_DPI = 150


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG and close it."""
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    plt.close(figure)


def show_image(axis: plt.Axes, image: np.ndarray) -> None:
    """Draw an image, (H, W, 1 or 3) in [0, 1], without ticks."""
    grey = image.shape[2] == 1
    axis.imshow(image[:, :, 0] if grey else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
