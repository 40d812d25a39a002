"""correlation, where the batch is split: adds the split tiles of each tile of C in their order and reduces it.

Grid: the tiles, in the order of correlation_tiles.
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
def correlation_combine_kernel(
    split_tiles,  # (splits, tiles, BLOCK_M, BLOCK_N) float32
    splits,
    out: CorrelationOutputs,
    of: CorrelationRows,
    TF32: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP: tl.constexpr,
):
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    area = BLOCK_M * BLOCK_N
    within = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    split = split_tiles + tile.to(tl.int64) * area
    product = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for _ in range(splits):
        product += tl.load(split + within)
        split += tiles.to(tl.int64) * area
    # Not before the loop, whose sums and loads take all registers there are.
    i, j = grouped_tile(tile, tl.cdiv(of.height, BLOCK_M), tl.cdiv(of.D, BLOCK_N), GROUP)
    correlation_epilogue(product, tile, i, j, out, of, TF32, BLOCK_M, BLOCK_N)
