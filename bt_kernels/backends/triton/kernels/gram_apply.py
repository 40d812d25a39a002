"""gradient, Gram form, large N, second half: dz of a panel of features from gram_product's T and column sums.

    q    = alpha sum_n T y + d C_ii                          alpha = 2 w_off / N^2
    dz   = rstd (alpha T + y_other d / N - y (q / M - alpha shift_other eps rstd^2))

as in gram_gradient. Grid: views * tiles of the panel; the two views of a tile run next to each other.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import diagonal_weight, power_of_two_below, taken_out, term_weights
from bt_kernels.backends.triton.kernels.tiles import store_gradient


@triton.jit
def gram_apply_kernel(
    grad_loss,  # () float32, or None; so the next two
    grad_on_diagonal,
    grad_off_diagonal,
    y,  # (2, N, ld) operands
    ld,
    rstd,  # (2, D) float32
    c_diagonal,  # (D,) float32
    product,  # (views, N, width) float32
    column_sums,  # (views, count, width) float32
    count,
    width,
    first_column,
    shifts,  # (2,) float32
    dz_a,  # (N, D) or None
    dz_b,  # (N, D) or None
    N,
    D,
    lambd,
    scale,
    eps,
    freedom,  # M; infinite where y was not standardized here
    FIRST_VIEW: tl.constexpr,
    VIEWS: tl.constexpr,
    BLOCK_N: tl.constexpr,  # samples
    BLOCK_D: tl.constexpr,  # features
):
    column_tiles = tl.cdiv(width, BLOCK_D)
    slot = tl.program_id(0) % VIEWS
    tile = tl.program_id(0) // VIEWS
    view = FIRST_VIEW + slot
    other = 1 - view
    rows = (tile // column_tiles) * BLOCK_N + tl.arange(0, BLOCK_N)
    within = (tile % column_tiles) * BLOCK_D + tl.arange(0, BLOCK_D)
    columns = first_column + within
    in_columns = (columns < D) & (within < width)
    mask = (rows < N)[:, None] & in_columns[None, :]

    sums = tl.zeros((BLOCK_D,), tl.float32)
    shares = column_sums + (slot * count).to(tl.int64) * width + within
    for _ in range(count):
        sums += tl.load(shares, in_columns, 0.0)
        shares += width
    w_on, w_off = term_weights(grad_loss, grad_on_diagonal, grad_off_diagonal, lambd, scale)
    alpha = 2.0 * w_off / N / N
    c = tl.load(c_diagonal + columns, in_columns, 0.0)
    r = tl.load(rstd + view * D + columns, in_columns, 0.0)
    d = diagonal_weight(c, w_on, w_off) / N
    shift = tl.load(shifts + other)
    beta = alpha * power_of_two_below(shift)
    q = beta * sums + d * N * c
    from_y = taken_out(q, freedom) - alpha * shift * eps * r * r

    wide_rows = rows.to(tl.int64)[:, None]
    t = tl.load(product + slot.to(tl.int64) * N * width + wide_rows * width + within[None, :], mask, 0.0)
    offsets = wide_rows * ld + columns[None, :]
    y_own = tl.load(y + view.to(tl.int64) * N * ld + offsets, mask, 0.0).to(tl.float32)
    y_other = tl.load(y + other.to(tl.int64) * N * ld + offsets, mask, 0.0).to(tl.float32)
    dz = r[None, :] * (beta * t + y_other * d[None, :] - y_own * from_y[None, :])
    store_gradient(dz_a, dz_b, wide_rows * D + columns[None, :], dz, mask, view, FIRST_VIEW, VIEWS)
