"""eps added to the standard deviation instead of the variance, without a word of it in the backends.

They standardize x to (x - mean) / sqrt(var(x) + eps). With s the standard deviation of z, in an ordinary part of
the graph before them,

    x = (z - mean(z)) / sqrt(2 s + eps),    var(x) + eps = s^2 / (2 s + eps) + eps = (s + eps)^2 / (2 s + eps)

so that what they make of x is (z - mean) / (s + eps), and their gradient, through the graph, is that of it.
"""

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import norm
from bt_kernels.backends.stages import accumulation_dtype, variance_divisor
from bt_kernels.function import without_autocast
from bt_kernels.options import LossOptions


def scaled_for_std_eps(z: Tensor, options: LossOptions) -> Tensor:  # (N, D) -> (N, D)
    """Float32 for 16-bit embeddings, and from here on: x has to be known as well as its standardization is."""
    with without_autocast(z.device):
        z = z.to(accumulation_dtype(z.dtype))
        # Centred twice and the sum of squares in float64, as the backends do it.
        centred = z - z.mean(0)
        centred = centred - centred.mean(0)
        std = norm(centred, dim=0) / variance_divisor(z.shape[0], options.unbiased) ** 0.5
        return centred * torch.rsqrt(2 * std + options.eps).to(z)
