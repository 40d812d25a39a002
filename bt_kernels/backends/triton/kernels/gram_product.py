"""Gram form, backward, large N: T = (K_other - shift_other I) y for a panel of features.

    product[v, n, i]   T / unit, float32
    column_sums[v, t, i]   sum of product * y over the rows of the t-th tile: what q is made of

No program sees all rows of a feature, and q needs them, so T goes through memory, a panel at a time that stays in
the L2 cache; gram_apply does the rest. Grid: views * tiles of (N, panel).
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.backward import GramPanel
from bt_kernels.backends.triton.kernels.tiles import grouped_tile


@triton.jit
def gram_product_kernel(
    y,  # (2, N, ld) operands
    ld,
    k,  # (2, N, ldk) operands, (K - shift I) / unit, zero from N on
    ldk,
    panel: GramPanel,
    N,
    PRECISION: tl.constexpr,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    BLOCK_M: tl.constexpr,  # samples
    BLOCK_N: tl.constexpr,  # features
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_N: tl.constexpr,  # BLOCK_K divides N
):
    row_tiles = tl.cdiv(N, BLOCK_M)
    column_tiles = panel.width // BLOCK_N
    tiles = row_tiles * column_tiles
    slot = tl.program_id(0) // tiles
    i, j = grouped_tile(tl.program_id(0) % tiles, row_tiles, column_tiles, GROUP)
    view = FIRST_VIEW + slot
    rows = i * BLOCK_M + tl.arange(0, BLOCK_M)
    within = j * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = panel.first_column + within
    in_ld = (columns < ld)[None, :]
    own = y + view.to(tl.int64) * N * ld
    inner = tl.arange(0, BLOCK_K)
    rows_or_last = tl.minimum(rows, N - 1).to(tl.int64)[:, None]
    left = k + (1 - view).to(tl.int64) * N * ldk + rows_or_last * ldk + inner[None, :]
    right = own + inner.to(tl.int64)[:, None] * ld + columns[None, :]
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, N, BLOCK_K):
        if EVEN_N:
            operand = tl.load(right, in_ld, 0.0)
        else:
            operand = tl.load(right, (start + inner < N)[:, None] & in_ld, 0.0)
        accumulator = tl.dot(tl.load(left), operand, accumulator, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K * ld

    in_rows = (rows < N)[:, None]
    y_own = tl.load(own + rows_or_last * ld + columns[None, :], in_rows & in_ld, 0.0).to(tl.float32)
    sums = tl.sum(accumulator * y_own, 0)
    tl.store(panel.column_sums + (slot * row_tiles + i).to(tl.int64) * panel.width + within, sums)
    # The view's place is added to the pointer: among the offsets it would make some tiles spill.
    of_view = panel.product + slot.to(tl.int64) * N * panel.width
    tl.store(of_view + rows.to(tl.int64)[:, None] * panel.width + within[None, :], accumulator, in_rows)
