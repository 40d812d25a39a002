"""What is done with a finished tile of C = y_own^T y_other / N, wherever it was finished.

    squares          sum of C_ij^2 over the tile without the diagonal, float64
    row_squares      per row of the tile; column_squares per column: with C_ii^2 they make the q of the backward
    c_off_diagonal   C without its diagonal, which the backward has in float32, as the backward's operand
    c                C itself in float32, with C_ii of y before its rounding: those of other rows are added to it

The off-diagonal elements themselves are summed, so there is no difference of sums here.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from bt_kernels.backends.triton.kernels.numeric import as_operand


class CorrelationOutputs(NamedTuple):
    """What is to be made of a product's tiles; None: not asked for."""

    squares: Tensor | None = None  # (tiles,) float64
    row_squares: Tensor | None = None  # (tiles of columns, height) float32
    column_squares: Tensor | None = None  # (tiles of rows, D) float32
    c_off_diagonal: Tensor | None = None  # (height, ldc) operand type, zero from D on
    ldc: int = 0
    c: Tensor | None = None  # (D, D) float32
    c_diagonal: Tensor | None = None  # (D,) float32, read for the diagonal of c


class CorrelationRows(NamedTuple):
    """Rows of C, or of its transpose, of which a launch makes the tiles."""

    first_row: int
    height: int
    D: int
    samples: int  # of the whole batch


@triton.jit
def correlation_epilogue(
    product,  # (BLOCK_M, BLOCK_N) float32
    tile,  # the (i, j)-th
    i,
    j,
    out: CorrelationOutputs,
    of: CorrelationRows,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    within = i * BLOCK_M + tl.arange(0, BLOCK_M)
    rows = of.first_row + within
    rows_end = of.first_row + of.height
    columns = j * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = (rows < rows_end)[:, None] & (columns < of.D)[None, :]
    kept = valid & (rows[:, None] != columns[None, :])
    values = tl.where(kept, product / of.samples, 0.0)
    squared = values * values
    if out.squares is not None:
        tl.store(out.squares + tile, tl.sum(squared).to(tl.float64))
    if out.row_squares is not None:
        tl.store(out.row_squares + j.to(tl.int64) * of.height + within, tl.sum(squared, 1), rows < rows_end)
    if out.column_squares is not None:
        tl.store(out.column_squares + i.to(tl.int64) * of.D + columns, tl.sum(squared, 0), columns < of.D)
    if out.c_off_diagonal is not None:
        stored = (rows < rows_end)[:, None] & (columns < out.ldc)[None, :]
        places = out.c_off_diagonal + within.to(tl.int64)[:, None] * out.ldc + columns[None, :]
        tl.store(places, as_operand(values, out.c_off_diagonal.dtype.element_ty, TF32), stored)
    if out.c is not None:
        diagonal = tl.load(out.c_diagonal + rows, rows < rows_end, 0.0)
        # 64 bits in the tile's first row alone, for they take twice the registers. first_row is 0:
        # all rows are here.
        first = out.c + (i * BLOCK_M).to(tl.int64) * of.D
        places = first + tl.arange(0, BLOCK_M)[:, None] * of.D + columns[None, :]
        tl.store(places, tl.where(rows[:, None] == columns[None, :], diagonal[:, None], values), valid)
