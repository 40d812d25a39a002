"""Launches the last step of both forwards."""

import torch
from torch import Tensor

from bt_kernels.backends.triton.kernels.finish_terms import finish_terms_kernel
from bt_kernels.backends.triton.launch import options


def finish_terms(
    n: int,
    sums: Tensor,  # (4, columns) float64, of standardize; the correlation form's first row is enough
    squares: Tensor,  # float64: shares of <K_a, K_b>, or of the sum of C_ij^2
    lambd: float,
    scale: float,
    shifts: Tensor | None = None,  # (2,) float32, an output of the Gram form
) -> list[Tensor]:
    """loss, on_diagonal, off_diagonal: no views of one buffer, which an op must not return."""
    terms = [sums.new_empty((), dtype=torch.float32) for _ in range(3)]
    finish_terms_kernel[(1,)](
        sums, sums.shape[1], squares, squares.numel(), *terms, shifts, n, lambd, scale, **options(4)
    )
    return terms
