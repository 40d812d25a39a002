"""The statistics of a batch whose rows are spread over ranks, float64: all-reduces of a few numbers a feature.

The mean comes first and the variance is that of z - mean, as on one process: E[z^2] - E[z]^2 would lose it. For
float64 embeddings the mean of z - mean comes between, without which their columns would not sum to zero either.
"""

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import sum_of_squares
from bt_kernels.backends.stages import Statistics, accumulation_dtype, variance_divisor
from bt_kernels.backends.standardize import split_mean
from bt_kernels.distributed.exchange import Layout, add_up
from bt_kernels.options import LossOptions


def global_statistics(z_a: Tensor, z_b: Tensor, layout: Layout, options: LossOptions) -> Statistics:
    """Of both views, (n, D) each on this rank."""
    mean = torch.stack([z.sum(0, dtype=torch.float64) for z in (z_a, z_b)])
    mean = add_up(mean, layout.ranks) / layout.n
    residual_mean = torch.zeros_like(mean)
    if z_a.dtype == torch.float64:
        residual_mean = torch.stack([(z - m).sum(0) for z, m in zip((z_a, z_b), mean, strict=True)])
        residual_mean = add_up(residual_mean, layout.ranks) / layout.n
    squares = torch.stack(
        [centred_squares(*of_view) for of_view in zip((z_a, z_b), mean, residual_mean, strict=True)]
    )
    variance = add_up(squares, layout.ranks) / variance_divisor(layout.n, options.unbiased)
    return Statistics(mean, residual_mean, torch.rsqrt(variance + options.eps))


def centred_squares(z: Tensor, mean: Tensor, residual_mean: Tensor) -> Tensor:
    """(n, D), (D,) float64, (D,) float64 -> (D,) float64"""
    z = z.to(accumulation_dtype(z.dtype))
    mean, residual_mean = split_mean(mean, residual_mean, z.dtype)
    return sum_of_squares(z - mean - residual_mean, dim=0)


def as_they_are(z: Tensor) -> Statistics:  # z: (any, D)
    """The statistics of embeddings that are standardized already."""
    zeros = torch.zeros(2, z.shape[1], dtype=torch.float64, device=z.device)
    return Statistics(zeros, zeros, torch.ones_like(zeros))
