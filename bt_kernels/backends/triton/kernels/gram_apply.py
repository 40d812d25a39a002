"""Gram form, backward, large N, behind gram_product: dz of a panel of features from its T and column sums.

    q    = alpha sum_n T y + d C_ii                          alpha = 2 w_off / N^2
    dz   = rstd (alpha T + y_other d / N - y (q / M - alpha shift_other eps rstd^2))

as in gram_backward. Grid: views * tiles of the panel; the two views of a tile run next to each other.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.backward import (
    GramBackward,
    GramPanel,
    gram_feature,
    store_gradient,
    term_weights,
)


@triton.jit
def gram_apply_kernel(
    given: GramBackward,
    panel: GramPanel,
    count,  # of the panel's column_sums
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    STANDARDIZED: tl.constexpr,
    BLOCK_N: tl.constexpr,  # samples
    BLOCK_D: tl.constexpr,  # features
):
    column_tiles = tl.cdiv(panel.width, BLOCK_D)
    slot = tl.program_id(0) % VIEWS
    tile = tl.program_id(0) // VIEWS
    view = FIRST_VIEW + slot
    other = 1 - view
    rows = (tile // column_tiles) * BLOCK_N + tl.arange(0, BLOCK_N)
    within = (tile % column_tiles) * BLOCK_D + tl.arange(0, BLOCK_D)
    columns = panel.first_column + within
    in_columns = (columns < given.D) & (within < panel.width)
    mask = (rows < given.N)[:, None] & in_columns[None, :]

    sums = tl.zeros((BLOCK_D,), tl.float32)
    shares = panel.column_sums + (slot * count).to(tl.int64) * panel.width + within
    for _ in range(count):
        sums += tl.load(shares, in_columns, 0.0)
        shares += panel.width
    w_on, w_off = term_weights(given.gradients, given.lambd, given.scale)
    r, of_product, of_other, of_own = gram_feature(
        given, sums, columns, in_columns, view, w_on, w_off, STANDARDIZED
    )

    wide_rows = rows.to(tl.int64)[:, None]
    of_view = panel.product + slot.to(tl.int64) * given.N * panel.width
    t = tl.load(of_view + wide_rows * panel.width + within[None, :], mask, 0.0)
    offsets = wide_rows * given.ld + columns[None, :]
    y_own = tl.load(given.y + view.to(tl.int64) * given.N * given.ld + offsets, mask, 0.0).to(tl.float32)
    y_other = tl.load(given.y + other.to(tl.int64) * given.N * given.ld + offsets, mask, 0.0).to(tl.float32)
    dz = r[None, :] * (of_product * t + y_other * of_other[None, :] - y_own * of_own[None, :])
    store_gradient(given, wide_rows * given.D + columns[None, :], dz, mask, view, FIRST_VIEW, VIEWS)
