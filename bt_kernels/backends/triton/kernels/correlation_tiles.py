"""correlation: tiles of the cross-correlation matrix C = y_own^T y_other / N, reduced as they are finished.

The product runs over the batch. With one split a program finishes its tile and correlation_epilogue reduces it
there. Where D is too small to fill the GPU the batch is split as well, and correlation_combine adds the split
tiles.

Rows of C are height features of view OWN from first_row on, columns all features of the other view: OWN = 1 gives
rows of C^T, from which the backward of a forced correlation gets dz_b. Grid: splits * tiles.
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
def correlation_tiles_kernel(
    y,  # (2, N, ld) operands
    ld,
    split_tiles,  # (splits, tiles, BLOCK_M, BLOCK_N) float32; None: one split, and the epilogue is done here
    out: CorrelationOutputs,
    of: CorrelationRows,
    share,  # samples of a split, a multiple of BLOCK_K
    N,  # at hand, of the samples of the whole batch
    OWN: tl.constexpr,
    PRECISION: tl.constexpr,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_N: tl.constexpr,  # BLOCK_K divides every share
):
    row_tiles = tl.cdiv(of.height, BLOCK_M)
    column_tiles = tl.cdiv(of.D, BLOCK_N)
    tiles = row_tiles * column_tiles
    program = tl.program_id(0)
    split = program // tiles
    tile = program % tiles
    i, j = grouped_tile(tile, row_tiles, column_tiles, GROUP)
    rows = of.first_row + i * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = j * BLOCK_N + tl.arange(0, BLOCK_N)
    in_rows = (rows < ld)[:, None]
    in_columns = (columns < ld)[None, :]
    view = tl.cast(N, tl.int64) * ld
    start = split * share
    end = tl.minimum(start + share, N)
    inner = start + tl.arange(0, BLOCK_K)
    left = y + OWN * view + rows[:, None] + inner.to(tl.int64)[None, :] * ld
    right = y + (1 - OWN) * view + columns[None, :] + inner.to(tl.int64)[:, None] * ld
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for _ in range(start, end, BLOCK_K):
        if EVEN_N:
            a = tl.load(left, in_rows, 0.0)
            b = tl.load(right, in_columns, 0.0)
        else:
            a = tl.load(left, in_rows & (inner < end)[None, :], 0.0)
            b = tl.load(right, in_columns & (inner < end)[:, None], 0.0)
        accumulator = tl.dot(a, b, accumulator, input_precision=PRECISION)
        inner += BLOCK_K
        left += BLOCK_K * ld
        right += BLOCK_K * ld
    if split_tiles is None:
        correlation_epilogue(accumulator, tile, i, j, out, of, TF32, BLOCK_M, BLOCK_N)
    else:
        within = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        tl.store(split_tiles + program.to(tl.int64) * BLOCK_M * BLOCK_N + within, accumulator)
