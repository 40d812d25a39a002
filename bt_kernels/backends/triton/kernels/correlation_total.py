"""correlation, where C comes added up from shares of the batch: its tiles reduced, and its diagonal.

    c_diagonal   C_ii
    distances    sum of (1 - C_ii)^2 over the tile's part of the diagonal, float64

and what correlation_epilogue makes of any tile. Grid: the tiles, in the order of correlation_tiles.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.correlation_epilogue import (
    CorrelationOutputs,
    CorrelationRows,
    correlation_epilogue,
)
from bt_kernels.backends.triton.kernels.tiles import grouped_tile


@triton.jit
def correlation_total_kernel(
    c,  # (D, D) float32
    c_diagonal,  # (D,) float32
    distances,  # (tiles,) float64
    out: CorrelationOutputs,
    D,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP: tl.constexpr,
):
    tile = tl.program_id(0)
    i, j = grouped_tile(tile, tl.cdiv(D, BLOCK_M), tl.cdiv(D, BLOCK_N), GROUP)
    rows = i * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = j * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = (rows < D)[:, None] & (columns < D)[None, :]
    # 64 bits in the tile's first row alone, for they take twice the registers.
    first_row = c + (i * BLOCK_M).to(tl.int64) * D
    values = tl.load(first_row + tl.arange(0, BLOCK_M)[:, None] * D + columns[None, :], valid, 0.0)
    crosses = (rows < D) & (rows // BLOCK_N == j)
    c_ii = tl.sum(tl.where(rows[:, None] == columns[None, :], values, 0.0), 1)
    distance = tl.where(crosses, 1.0 - c_ii, 0.0)
    tl.store(c_diagonal + rows, c_ii, crosses)
    tl.store(distances + tile, tl.sum((distance * distance).to(tl.float64), 0))
    correlation_epilogue(values, tile, i, j, out, CorrelationRows(0, D, D, 1), TF32, BLOCK_M, BLOCK_N)
