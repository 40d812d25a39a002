"""How far an accuracy can be trusted: over the seeds it was measured with, and for the size of the test set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

LEVEL = 0.95


def half_width(values: Sequence[float]) -> float | None:
    """Return the half width of the 95 % confidence interval of the mean over seeds, by Student's t.

    None for a single value, which says nothing about the spread.
    """
    if len(values) < 2:
        return None
    quantile = stdtrit(len(values) - 1, (1 + LEVEL) / 2)
    return float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))


def binomial_interval(share: float, images: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson's score) of an accuracy on ``images`` random test images.

    It is what another test set of this size would change, not another training.
    """
    z = float(ndtri((1 + LEVEL) / 2))
    centre = share + z**2 / (2 * images)
    spread = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    scale = 1 + z**2 / images
    # At shares of 0 and 1 an end of the interval is the share itself, but for rounding.
    return max(0.0, min(share, (centre - spread) / scale)), min(1.0, max(share, (centre + spread) / scale))
