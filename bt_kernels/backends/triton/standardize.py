"""Launches the standardize stage."""

import torch
import triton
from torch import Tensor

from bt_kernels.backends.triton.heuristics import standardize_block
from bt_kernels.backends.triton.kernels.standardize import Standardized, ViewEmbeddings, standardize_kernel
from bt_kernels.backends.triton.launch import Operands, options, padded


def standardize(z_a: Tensor, z_b: Tensor, eps: float, unbiased: bool, operands: Operands) -> Standardized:
    return launch(z_a, z_b, None, None, z_a.shape[0], eps, unbiased, operands)


def standardize_as_given(
    z_a: Tensor,
    z_b: Tensor,
    given_statistics: Tensor,  # (3, 2, D) float64: mean, residual_mean and rstd of both views
    samples: int,  # of the whole batch
    operands: Operands,
) -> Standardized:
    """The same with statistics from elsewhere. c_diagonal and sums are what these rows are of them."""
    mean, _, rstd = given_statistics.contiguous()
    return launch(z_a, z_b, mean, rstd, samples, 0.0, False, operands)


def launch(
    z_a: Tensor,
    z_b: Tensor,
    mean: Tensor | None,
    rstd: Tensor | None,
    samples: int,
    eps: float,
    unbiased: bool,
    operands: Operands,
) -> Standardized:
    n, d = z_a.shape
    ld = padded(d)
    block = standardize_block(n)
    programs = triton.cdiv(ld, block.d)
    out = Standardized(
        y=z_a.new_empty(2, n, ld),
        rstd=z_a.new_empty(2, d, dtype=torch.float32),
        c_diagonal=z_a.new_empty(d, dtype=torch.float32),
        sums=z_a.new_empty(4, programs, dtype=torch.float64),
    )
    standardize_kernel[(programs,)](
        ViewEmbeddings(z_a, *z_a.stride()),
        ViewEmbeddings(z_b, *z_b.stride()),
        mean,
        rstd,
        out,
        ld,
        n,
        samples,
        d,
        eps,
        UNBIASED=unbiased,
        TF32=operands.tf32,
        BLOCK_N=block.n,
        BLOCK_D=block.d,
        SINGLE=n <= block.n,
        **options(block.warps),
    )
    return out
