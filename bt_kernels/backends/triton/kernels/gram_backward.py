"""Gram form, backward, small N: one program owns all N rows of its features, so nothing leaves the registers.

    T    = (K_other - shift_other I) y                       the matrix product, float32 accumulators
    dy   = alpha T + y_other d / N                           alpha = 2 w_off / N^2
    q    = sum_n dy y = alpha sum_n T y + d C_ii
    dz   = rstd (dy - y (q / M - alpha shift_other eps rstd^2))

with d = 2 (w_on (C_ii - 1) - w_off C_ii): docs/mathematics.md. The incoming gradients are in w_on and w_off, in
float32, before the one rounding to the embeddings' type.

What is behind the product is done for PART features at a time. With all of them at once both views of y would be
in registers beside the product, which then could have half the features: K would be read twice as often.

Grid: views * ceil(D / BLOCK_D); the programs of one block of features, one for each view, run next to each other
and read the same y.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.backward import (
    GramBackward,
    gram_feature,
    store_gradient,
    term_weights,
)
from bt_kernels.backends.triton.kernels.numeric import index
from bt_kernels.backends.triton.kernels.tiles import halves_of


@triton.jit
def finish_columns(
    given: GramBackward,
    product,  # (BLOCK_N, some features) float32
    columns,
    rows,
    view,
    w_on,
    w_off,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    STANDARDIZED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """dz of these features from the product."""
    in_columns = columns < given.D
    mask = (rows < given.N)[:, None] & in_columns[None, :]
    offsets = index(rows, WIDE)[:, None] * given.ld + columns[None, :]
    operand_own = tl.load(given.y + view.to(tl.int64) * given.N * given.ld + offsets, mask, 0.0)
    operand_other = tl.load(given.y + (1 - view).to(tl.int64) * given.N * given.ld + offsets, mask, 0.0)
    y_own = operand_own.to(tl.float32)
    sums = tl.sum(product * y_own, 0)
    r, of_product, of_other, of_own = gram_feature(
        given, sums, columns, in_columns, view, w_on, w_off, STANDARDIZED
    )
    y_other = operand_other.to(tl.float32)
    dz = r[None, :] * (of_product * product + y_other * of_other[None, :] - y_own * of_own[None, :])
    offsets = index(rows, WIDE)[:, None] * given.D + columns[None, :]
    store_gradient(given, offsets, dz, mask, view, FIRST_VIEW, VIEWS)


@triton.jit
def finish_parts(
    given: GramBackward,
    product,  # (BLOCK_N, features) float32
    first,
    rows,
    view,
    w_on,
    w_off,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    STANDARDIZED: tl.constexpr,
    WIDE: tl.constexpr,
    PART: tl.constexpr,
):
    """dz of the features from `first` on, PART of them at a time."""
    WIDTH: tl.constexpr = product.shape[1]
    if WIDTH <= PART:
        columns = first + tl.arange(0, WIDTH)
        finish_columns(given, product, columns, rows, view, w_on, w_off, FIRST_VIEW, VIEWS, STANDARDIZED, WIDE)
    else:
        HALF: tl.constexpr = WIDTH // 2
        halves = halves_of(product)
        for half in tl.static_range(2):
            finish_parts(
                given, halves[half], first + half * HALF, rows, view, w_on, w_off,
                FIRST_VIEW, VIEWS, STANDARDIZED, WIDE, PART,
            )  # fmt: skip


@triton.jit
def gram_backward_kernel(
    given: GramBackward,
    k,  # (2, N, ldk) operands, (K - shift I) / unit, zero from N on
    ldk,
    PRECISION: tl.constexpr,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    STANDARDIZED: tl.constexpr,
    BLOCK_N: tl.constexpr,  # >= N
    BLOCK_D: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PART: tl.constexpr,  # features that the epilogue takes at a time
    EVEN_N: tl.constexpr,  # BLOCK_K divides N
    WIDE: tl.constexpr,  # BLOCK_N * max(ld, D) >= 2^31
):
    program = tl.program_id(0)
    view = FIRST_VIEW + program % VIEWS
    other = 1 - view
    columns = (program // VIEWS) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_ld = (columns < given.ld)[None, :]
    own = given.y + view.to(tl.int64) * given.N * given.ld
    rows = tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    # Rows beyond N repeat the last one: y is zero there, and nothing is stored.
    left = k + other.to(tl.int64) * given.N * ldk + tl.minimum(rows, given.N - 1)[:, None] * ldk + inner[None, :]
    right = own + index(inner, WIDE)[:, None] * given.ld + columns[None, :]
    product = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, given.N, BLOCK_K):
        if EVEN_N:
            operand = tl.load(right, in_ld, 0.0)
        else:
            operand = tl.load(right, (start + inner < given.N)[:, None] & in_ld, 0.0)
        product = tl.dot(tl.load(left), operand, product, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K * given.ld

    w_on, w_off = term_weights(given.gradients, given.lambd, given.scale)
    first = (program // VIEWS) * BLOCK_D
    finish_parts(given, product, first, rows, view, w_on, w_off, FIRST_VIEW, VIEWS, STANDARDIZED, WIDE, PART)
