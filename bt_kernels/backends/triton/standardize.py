"""Launches the standardize stage."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from bt_kernels.backends.triton.heuristics import standardize_block
from bt_kernels.backends.triton.kernels.standardize import standardize_kernel
from bt_kernels.backends.triton.launch import Operands, options, padded


class Standardized(NamedTuple):
    y: Tensor  # (2, N, ld) operands of the matrix products, zero from D on
    rstd: Tensor  # (2, D) float32
    c_diagonal: Tensor  # (D,) float32
    sums: Tensor  # (4, programs) float64: see the kernel


def standardize(z_a: Tensor, z_b: Tensor, eps: float, unbiased: bool, operands: Operands) -> Standardized:
    n, d = z_a.shape
    ld = padded(d)
    block = standardize_block(n)
    programs = triton.cdiv(ld, block.d)
    out = Standardized(
        z_a.new_empty(2, n, ld),
        z_a.new_empty(2, d, dtype=torch.float32),
        z_a.new_empty(d, dtype=torch.float32),
        z_a.new_empty(4, programs, dtype=torch.float64),
    )
    standardize_kernel[(programs,)](
        z_a,
        z_b,
        *z_a.stride(),
        *z_b.stride(),
        out.y,
        ld,
        out.rstd,
        out.c_diagonal,
        out.sums,
        n,
        d,
        eps,
        int(unbiased),
        TF32=operands.tf32,
        BLOCK_N=block.n,
        BLOCK_D=block.d,
        SINGLE=n <= block.n,
        **options(block.warps),
    )
    return out
