"""gram: split tiles of K_a = y_a y_a^T and K_b = y_b y_b^T over shares of the features.

    split_tiles[s, v, t] = y_v[i-th rows, s-th features] y_v[j-th rows, s-th features]^T      i <= j, the t-th tile

Only tiles on or above the diagonal exist. N^2 tiles alone cannot fill a GPU, so the features are split: a program
owns one tile of one view over one share. Programs of the same share run next to each other and read
the same columns.

Operands as standardize left them, float32 accumulators; gram_combine adds the shares in their order.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.tiles import triangle_tile


@triton.jit
def gram_tiles_kernel(
    y,  # (2, N, ld) operands; ld a multiple of BLOCK_K, zero from D on
    ld,
    split_tiles,  # (splits, 2, tiles, BLOCK, BLOCK) float32
    N,
    side,  # tiles = side * (side + 1) / 2
    share,  # features of a split, a multiple of BLOCK_K
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tiles = side * (side + 1) // 2
    program = tl.program_id(0)
    view = (program // tiles) % 2
    split = program // (2 * tiles)
    i, j = triangle_tile(program % tiles, side)
    # Rows beyond N repeat the last one: their products are never read.
    rows_i = tl.minimum(i * BLOCK + tl.arange(0, BLOCK), N - 1).to(tl.int64)
    rows_j = tl.minimum(j * BLOCK + tl.arange(0, BLOCK), N - 1).to(tl.int64)
    features = tl.arange(0, BLOCK_K)
    start = split * share
    base = y + view.to(tl.int64) * N * ld + start
    left = base + rows_i[:, None] * ld + features[None, :]
    right = base + rows_j[None, :] * ld + features[:, None]
    accumulator = tl.zeros((BLOCK, BLOCK), tl.float32)
    for _ in range(0, tl.minimum(share, ld - start), BLOCK_K):
        accumulator = tl.dot(tl.load(left), tl.load(right), accumulator, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K
    within = tl.arange(0, BLOCK)
    tl.store(
        split_tiles + program.to(tl.int64) * BLOCK * BLOCK + within[:, None] * BLOCK + within[None, :], accumulator
    )
