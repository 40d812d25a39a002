"""Correlation form, backward: the product with C, and the whole of dz behind it.

    dy   = (2 w_off / N) y_other C_off^T + y_other 2 w_on (C_ii - 1) / N           C_off: C without its diagonal
    q    = 2 w_off sum_j C_off[i,j]^2 + 2 w_on (C_ii - 1) C_ii
    dz   = rstd (dy - y q / M)

for view a; for view b with C's columns in place of its rows. q is known before the product, from the forward's
norms, so the product's epilogue finishes the gradient. The diagonal weighs in float32: C_off alone is rounded to
the operands' type. N rows are at hand, of samples that C was made of: q is of them all.

Grid: tiles of (N, width).
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.backward import (
    CorrelationBackward,
    CorrelationPanel,
    taken_out,
    term_weights,
)
from bt_kernels.backends.triton.kernels.tiles import grouped_tile, halves_of


@triton.jit
def finish_columns(
    given: CorrelationBackward,
    panel: CorrelationPanel,
    product,  # (BLOCK_M, some of the panel's features) float32
    within,  # of the panel
    rows,
    below,  # rows from first_row on, within N
    first_row,
    w_on,
    w_off,
    VIEW: tl.constexpr,
    STANDARDIZED: tl.constexpr,
):
    in_width = within < panel.width
    columns = panel.first_column + within
    sums = tl.zeros(within.shape, tl.float32)
    shares = panel.squares + within
    for _ in range(panel.count):
        sums += tl.load(shares, in_width, 0.0)
        shares += panel.width
    c_ii = tl.load(given.c_diagonal + columns, in_width, 0.0)
    r = tl.load(given.rstd + VIEW * given.D + columns, in_width, 0.0)
    diagonal = 2.0 * w_on * (c_ii - 1.0)
    q = 2.0 * w_off * sums + diagonal * c_ii
    mask = (rows < given.N)[:, None] & in_width[None, :]
    view = tl.cast(given.N, tl.int64) * given.ld
    of_first_row = given.y + first_row * given.ld
    offsets = below[:, None] * given.ld + columns[None, :]
    y_own = tl.load(of_first_row + VIEW * view + offsets, mask, 0.0).to(tl.float32)
    y_other = tl.load(of_first_row + (1 - VIEW) * view + offsets, mask, 0.0).to(tl.float32)
    dy = (2.0 * w_off / given.samples) * product + y_other * (diagonal / given.samples)[None, :]
    result = r[None, :] * (dy - y_own * taken_out(q, given.variance_divisor, STANDARDIZED)[None, :])
    places = given.dz + first_row * given.D + below[:, None] * given.D + columns[None, :]
    tl.store(places, result.to(given.dz.dtype.element_ty), mask)


@triton.jit
def correlation_backward_kernel(
    given: CorrelationBackward,
    panel: CorrelationPanel,
    VIEW: tl.constexpr,
    STANDARDIZED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,  # samples
    BLOCK_N: tl.constexpr,  # features
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_D: tl.constexpr,  # BLOCK_K divides D
):
    i, j = grouped_tile(tl.program_id(0), tl.cdiv(given.N, BLOCK_M), tl.cdiv(panel.width, BLOCK_N), GROUP)
    rows = i * BLOCK_M + tl.arange(0, BLOCK_M)
    within = j * BLOCK_N + tl.arange(0, BLOCK_N)
    view = tl.cast(given.N, tl.int64) * given.ld
    other = given.y + (1 - VIEW) * view
    inner = tl.arange(0, BLOCK_K)
    # Offsets from the tile's first row: 64 bits in the base alone, for they take twice the registers.
    first_row = (i * BLOCK_M).to(tl.int64)
    below = tl.minimum(rows, given.N - 1) - i * BLOCK_M
    left = other + first_row * given.ld + below[:, None] * given.ld + inner[None, :]
    right = panel.c_off_diagonal + within.to(tl.int64)[None, :] * panel.stride_i
    right += inner.to(tl.int64)[:, None] * panel.stride_j
    in_panel = (within < panel.width)[None, :]
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, given.D, BLOCK_K):
        if EVEN_D:
            b = tl.load(right, in_panel, 0.0)
        else:
            b = tl.load(right, in_panel & (start + inner < given.D)[:, None], 0.0)
        accumulator = tl.dot(tl.load(left), b, accumulator, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K * panel.stride_j

    w_on, w_off = term_weights(given.gradients, given.lambd, given.scale)
    # In halves: with all columns at once both views of y would be in registers beside the product, which then
    # could have half as many columns.
    HALF: tl.constexpr = BLOCK_N // 2
    halves = halves_of(accumulator)
    for half in tl.static_range(2):
        columns = j * BLOCK_N + half * HALF + tl.arange(0, HALF)
        finish_columns(
            given, panel, halves[half], columns, rows, below, first_row, w_on, w_off, VIEW, STANDARDIZED
        )
