"""correlation, where the batch is split: adds the parts of each tile of C in their order and reduces it.

Grid: the tiles, in the order of correlation_tiles.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.correlation_epilogue import correlation_epilogue
from bt_kernels.backends.triton.kernels.tiles import grouped_tile


@triton.jit
def correlation_combine_kernel(
    partial,  # (splits, tiles, BLOCK_M, BLOCK_N) float32
    splits,
    squares,  # (tiles,) float64 or None
    row_squares,  # (tiles of columns, height) float32 or None
    column_squares,  # (tiles of rows, D) float32 or None
    c,  # (height, ldc) operands or None
    ldc,
    whole,  # (D, D) float32 or None
    c_diagonal,  # (D,) float32 or None
    first_row,
    height,
    samples,
    D,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP: tl.constexpr,
):
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    area = BLOCK_M * BLOCK_N
    within = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    part = partial + tile.to(tl.int64) * area
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for _ in range(splits):
        total += tl.load(part + within)
        part += tiles.to(tl.int64) * area
    # Not before the loop, whose sums and loads take all registers there are.
    i, j = grouped_tile(tile, tl.cdiv(height, BLOCK_M), tl.cdiv(D, BLOCK_N), GROUP)
    correlation_epilogue(
        total,
        i,
        j,
        first_row,
        first_row + height,
        None if squares is None else squares + tile,
        row_squares,
        column_squares,
        c,
        ldc,
        whole,
        c_diagonal,
        height,
        samples,
        D,
        TF32,
        BLOCK_M,
        BLOCK_N,
    )
