"""The Barlow Twins loss (Zbontar et al., ICML 2021), fused, without a D x D matrix where none is needed."""

from bt_kernels import presets
from bt_kernels.backends.registry import available_backends
from bt_kernels.backends.stages import Availability
from bt_kernels.diagnostics import cross_correlation, cross_correlation_blocks
from bt_kernels.loss import BarlowTwinsLoss, LossTerms, barlow_twins_loss, barlow_twins_terms
from bt_kernels.version import __version__

__all__ = [
    "Availability",
    "BarlowTwinsLoss",
    "LossTerms",
    "__version__",
    "available_backends",
    "barlow_twins_loss",
    "barlow_twins_terms",
    "cross_correlation",
    "cross_correlation_blocks",
    "presets",
]
