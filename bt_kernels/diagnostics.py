"""The cross-correlation matrix itself, for people who want to look at it. No gradient, nothing fused."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bt_kernels.backends.standardize import standardize
from bt_kernels.embeddings import check_embeddings, plain
from bt_kernels.function import without_autocast
from bt_kernels.options import LossOptions


@torch.no_grad()
def cross_correlation(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    eps: float = 1e-5,
    unbiased: bool = False,
) -> Tensor:
    """The cross-correlation matrix C (eq. 2 of the paper), (D, D), float64 for float64 embeddings, else float32.

    Raises what barlow_twins_loss raises for bad embeddings. For a D whose D x D matrix does not fit, see
    cross_correlation_blocks.
    """
    check_embeddings(z_a, z_b)
    return next(cross_correlation_blocks(z_a, z_b, rows=z_a.shape[1], eps=eps, unbiased=unbiased))


def cross_correlation_blocks(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    rows: int = 1024,
    eps: float = 1e-5,
    unbiased: bool = False,
) -> Iterator[Tensor]:
    """Yields C in blocks of rows, top to bottom: (rows, D) each, the last one possibly shorter.

    Only one block and the two standardized embeddings are alive at a time. Raises what barlow_twins_loss raises
    for bad embeddings, TypeError for rows that are no int, ValueError for rows below 1.
    """
    check_embeddings(z_a, z_b)
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise TypeError(f"rows must be an int, got {type(rows).__name__}: {rows!r}")
    if rows < 1:
        raise ValueError(f"rows must be >= 1, got {rows}")
    options = LossOptions(eps=eps, unbiased=unbiased)
    return _blocks(plain(z_a), plain(z_b), rows, options)


@torch.no_grad()
def _blocks(z_a: Tensor, z_b: Tensor, rows: int, options: LossOptions) -> Iterator[Tensor]:
    # A generator of its own, so that the checks above run at the call and not at the first next().
    with without_autocast(z_a.device):
        y_a, y_b = (standardize(z, options.eps, options.unbiased).y for z in (z_a, z_b))
    n, d = z_a.shape
    for start in range(0, d, rows):
        with without_autocast(z_a.device):
            block = y_a[:, start : start + rows].T @ y_b / n
        yield block
