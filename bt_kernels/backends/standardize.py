"""The standardization in plain PyTorch ops: the eager backend's, and that of code that is no backend."""

from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import sum_of_squares
from bt_kernels.backends.stages import accumulation_dtype, variance_divisor


class StandardizedView(NamedTuple):
    """One view: y = (z - mean - residual_mean) * rstd per feature."""

    y: Tensor  # (N, D) in the accumulation dtype
    mean: Tensor  # (D,)
    residual_mean: Tensor  # (D,) of z - mean: what rounding left of the mean
    rstd: Tensor  # (D,) 1 / sqrt(variance + eps)


def standardize(z: Tensor, eps: float, unbiased: bool) -> StandardizedView:
    z = z.to(accumulation_dtype(z.dtype))
    # Centred twice, or a mean far from zero leaves columns of y that do not sum to zero, as the backward takes for
    # granted. The variance is float64: in float32 it overflows for |z| > 1e19.
    mean = z.mean(0)
    residual_mean = (z - mean).mean(0)
    centred = z - mean - residual_mean
    variance = sum_of_squares(centred, dim=0) / variance_divisor(z.shape[0], unbiased)
    rstd = torch.rsqrt(variance + eps).to(z)
    return StandardizedView(centred * rstd, mean, residual_mean, rstd)


def split_mean(mean: Tensor, residual_mean: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A mean and its residual, float64, as two numbers of another dtype whose sum is as close as that has."""
    rounded = mean.to(dtype)
    return rounded, (mean - rounded + residual_mean).to(dtype)
