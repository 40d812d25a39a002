"""What is done with a finished tile of C = y_own^T y_other / N, wherever it was finished.

    squares       sum of C_ij^2 over the tile without the diagonal, float64
    row_squares   per row of the tile; column_squares per column: with C_ii^2 they make the q of the backward
    C             without its diagonal, which the backward has in float32, as the backward's operand
    whole         C itself in float32, with C_ii of y before its rounding: what other rows' products are added to

The off-diagonal elements themselves are summed, so there is no difference of sums here.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import as_operand


@triton.jit
def correlation_epilogue(
    product,  # (BLOCK_M, BLOCK_N) float32
    i,
    j,
    first_row,
    rows_end,
    squares,  # () of this tile, or None
    row_squares,  # (tiles of columns, height) float32, or None
    column_squares,  # (tiles of rows, D) float32, or None
    c,  # (height, ldc) operand type, zero from D on, or None
    ldc,
    whole,  # (D, D) float32, or None
    c_diagonal,  # (D,) float32, the diagonal of whole; or None
    height,
    samples,  # of the whole batch
    D,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    within = i * BLOCK_M + tl.arange(0, BLOCK_M)
    rows = first_row + within
    columns = j * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = (rows < rows_end)[:, None] & (columns < D)[None, :]
    kept = valid & (rows[:, None] != columns[None, :])
    values = tl.where(kept, product / samples, 0.0)
    squared = values * values
    if squares is not None:
        tl.store(squares, tl.sum(squared).to(tl.float64))
    if row_squares is not None:
        tl.store(row_squares + j.to(tl.int64) * height + within, tl.sum(squared, 1), rows < rows_end)
    if column_squares is not None:
        tl.store(column_squares + i.to(tl.int64) * D + columns, tl.sum(squared, 0), columns < D)
    if c is not None:
        stored = (rows < rows_end)[:, None] & (columns < ldc)[None, :]
        out = c + within.to(tl.int64)[:, None] * ldc + columns[None, :]
        tl.store(out, as_operand(values, c.dtype.element_ty, TF32), stored)
    if whole is not None:
        diagonal = tl.load(c_diagonal + rows, rows < rows_end, 0.0)
        # 64 bits in the tile's first row alone, for they take twice the registers. first_row is 0:
        # all rows are here.
        out = whole + (i * BLOCK_M).to(tl.int64) * D + tl.arange(0, BLOCK_M)[:, None] * D + columns[None, :]
        tl.store(out, tl.where(rows[:, None] == columns[None, :], diagonal[:, None], values), valid)
