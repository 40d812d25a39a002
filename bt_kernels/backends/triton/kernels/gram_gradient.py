"""gradient, Gram form, small N: one program owns all N rows of its features, so nothing leaves the registers.

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

from bt_kernels.backends.triton.kernels.numeric import (
    diagonal_weight,
    index,
    power_of_two_below,
    taken_out,
    term_weights,
)
from bt_kernels.backends.triton.kernels.tiles import halves_of, store_gradient


@triton.jit
def finish_columns(
    product,  # (BLOCK_N, some features) float32
    columns,
    rows,
    view,
    w_on,
    w_off,
    y,
    ld,
    rstd,
    c_diagonal,
    shifts,
    dz_a,
    dz_b,
    N,
    D,
    eps,
    freedom,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """dz of these features from the product."""
    other = 1 - view
    in_columns = columns < D
    alpha = 2.0 * w_off / N / N
    mask = (rows < N)[:, None] & in_columns[None, :]
    offsets = index(rows, WIDE)[:, None] * ld + columns[None, :]
    of_own = tl.load(y + view.to(tl.int64) * N * ld + offsets, mask, 0.0)
    of_other = tl.load(y + other.to(tl.int64) * N * ld + offsets, mask, 0.0)
    y_own = of_own.to(tl.float32)
    c = tl.load(c_diagonal + columns, in_columns, 0.0)
    r = tl.load(rstd + view * D + columns, in_columns, 0.0)
    d = diagonal_weight(c, w_on, w_off) / N
    shift = tl.load(shifts + other)
    beta = alpha * power_of_two_below(shift)
    q = beta * tl.sum(product * y_own, 0) + d * N * c
    from_y = taken_out(q, freedom) - alpha * shift * eps * r * r
    y_other = of_other.to(tl.float32)
    dz = r[None, :] * (beta * product + y_other * d[None, :] - y_own * from_y[None, :])
    store_gradient(
        dz_a, dz_b, index(rows, WIDE)[:, None] * D + columns[None, :], dz, mask, view, FIRST_VIEW, VIEWS
    )


@triton.jit
def finish_parts(
    product,  # (BLOCK_N, features) float32
    first,
    rows,
    view,
    w_on,
    w_off,
    y,
    ld,
    rstd,
    c_diagonal,
    shifts,
    dz_a,
    dz_b,
    N,
    D,
    eps,
    freedom,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    WIDE: tl.constexpr,
    PART: tl.constexpr,
):
    """dz of the features from `first` on, PART of them at a time."""
    WIDTH: tl.constexpr = product.shape[1]
    if WIDTH <= PART:
        finish_columns(
            product,
            first + tl.arange(0, WIDTH),
            rows,
            view,
            w_on,
            w_off,
            y,
            ld,
            rstd,
            c_diagonal,
            shifts,
            dz_a,
            dz_b,
            N,
            D,
            eps,
            freedom,
            FIRST_VIEW,
            VIEWS,
            WIDE,
        )
    else:
        HALF: tl.constexpr = WIDTH // 2
        halves = halves_of(product)
        for half in tl.static_range(2):
            finish_parts(
                halves[half],
                first + half * HALF,
                rows,
                view,
                w_on,
                w_off,
                y,
                ld,
                rstd,
                c_diagonal,
                shifts,
                dz_a,
                dz_b,
                N,
                D,
                eps,
                freedom,
                FIRST_VIEW,
                VIEWS,
                WIDE,
                PART,
            )


@triton.jit
def gram_gradient_kernel(
    grad_loss,  # () float32, or None; so the next two
    grad_on_diagonal,
    grad_off_diagonal,
    y,  # (2, N, ld) operands
    ld,
    rstd,  # (2, D) float32
    c_diagonal,  # (D,) float32
    k,  # (2, N, ldk) operands, (K - shift I) / unit, zero from N on
    ldk,
    shifts,  # (2,) float32
    dz_a,  # (N, D) or None
    dz_b,  # (N, D) or None
    N,
    D,
    lambd,
    scale,
    eps,
    freedom,  # M; infinite where y was not standardized here
    PRECISION: tl.constexpr,
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
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
    in_ld = (columns < ld)[None, :]
    own = y + view.to(tl.int64) * N * ld
    rows = tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    # Rows beyond N repeat the last one: y is zero there, and nothing is stored.
    left = k + other.to(tl.int64) * N * ldk + tl.minimum(rows, N - 1)[:, None] * ldk + inner[None, :]
    right = own + index(inner, WIDE)[:, None] * ld + columns[None, :]
    product = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, N, BLOCK_K):
        if EVEN_N:
            operand = tl.load(right, in_ld, 0.0)
        else:
            operand = tl.load(right, (start + inner < N)[:, None] & in_ld, 0.0)
        product = tl.dot(tl.load(left), operand, product, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K * ld

    w_on, w_off = term_weights(grad_loss, grad_on_diagonal, grad_off_diagonal, lambd, scale)
    finish_parts(
        product,
        (program // VIEWS) * BLOCK_D,
        rows,
        view,
        w_on,
        w_off,
        y,
        ld,
        rstd,
        c_diagonal,
        shifts,
        dz_a,
        dz_b,
        N,
        D,
        eps,
        freedom,
        FIRST_VIEW,
        VIEWS,
        WIDE,
        PART,
    )
