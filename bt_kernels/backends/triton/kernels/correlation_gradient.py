"""gradient, correlation form: the product with C, and the whole of dz behind it.

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

from bt_kernels.backends.triton.kernels.numeric import taken_out, term_weights
from bt_kernels.backends.triton.kernels.tiles import grouped_tile, halves_of


@triton.jit
def finish_columns(
    product,  # (BLOCK_M, some of the panel's features) float32
    within,  # of the panel
    rows,
    below,  # rows from first_row on, within N
    first_row,
    w_on,
    w_off,
    y,
    ld,
    rstd,
    c_diagonal,
    squares,
    count,
    width,
    first_column,
    dz,
    N,
    samples,
    D,
    freedom,
    VIEW: tl.constexpr,
):
    in_width = within < width
    columns = first_column + within
    sums = tl.zeros(within.shape, tl.float32)
    shares = squares + within
    for _ in range(count):
        sums += tl.load(shares, in_width, 0.0)
        shares += width
    c_ii = tl.load(c_diagonal + columns, in_width, 0.0)
    r = tl.load(rstd + VIEW * D + columns, in_width, 0.0)
    diagonal = 2.0 * w_on * (c_ii - 1.0)
    q = 2.0 * w_off * sums + diagonal * c_ii
    mask = (rows < N)[:, None] & in_width[None, :]
    view = tl.cast(N, tl.int64) * ld
    of_first_row = y + first_row * ld
    offsets = below[:, None] * ld + columns[None, :]
    y_own = tl.load(of_first_row + VIEW * view + offsets, mask, 0.0).to(tl.float32)
    y_other = tl.load(of_first_row + (1 - VIEW) * view + offsets, mask, 0.0).to(tl.float32)
    dy = (2.0 * w_off / samples) * product + y_other * (diagonal / samples)[None, :]
    result = r[None, :] * (dy - y_own * taken_out(q, freedom)[None, :])
    tl.store(dz + first_row * D + below[:, None] * D + columns[None, :], result.to(dz.dtype.element_ty), mask)


@triton.jit
def correlation_gradient_kernel(
    grad_loss,  # () float32, or None; so the next two
    grad_on_diagonal,
    grad_off_diagonal,
    y,  # (2, N, ld) operands; ld a multiple of BLOCK_K, zero from D on
    ld,
    rstd,  # (2, D) float32
    c_diagonal,  # (D,) float32
    c,  # operands: element (i, j), i of this panel's features, at c + i * stride_i + j * stride_j
    stride_i,
    stride_j,
    squares,  # (count, width) float32: shares of sum_j C_off[i,j]^2
    count,
    width,  # features of the panel
    first_column,
    dz,  # (N, D)
    N,
    samples,
    D,
    lambd,
    scale,
    freedom,  # M; infinite where y was not standardized here
    VIEW: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,  # samples
    BLOCK_N: tl.constexpr,  # features
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_D: tl.constexpr,  # BLOCK_K divides D
):
    i, j = grouped_tile(tl.program_id(0), tl.cdiv(N, BLOCK_M), tl.cdiv(width, BLOCK_N), GROUP)
    rows = i * BLOCK_M + tl.arange(0, BLOCK_M)
    within = j * BLOCK_N + tl.arange(0, BLOCK_N)
    view = tl.cast(N, tl.int64) * ld
    other = y + (1 - VIEW) * view
    inner = tl.arange(0, BLOCK_K)
    # Offsets from the tile's first row: 64 bits in the base alone, for they take twice the registers.
    first_row = (i * BLOCK_M).to(tl.int64)
    below = tl.minimum(rows, N - 1) - i * BLOCK_M
    left = other + first_row * ld + below[:, None] * ld + inner[None, :]
    right = c + within.to(tl.int64)[None, :] * stride_i + inner.to(tl.int64)[:, None] * stride_j
    in_panel = (within < width)[None, :]
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, D, BLOCK_K):
        if EVEN_D:
            b = tl.load(right, in_panel, 0.0)
        else:
            b = tl.load(right, in_panel & (start + inner < D)[:, None], 0.0)
        accumulator = tl.dot(tl.load(left), b, accumulator, input_precision=PRECISION)
        left += BLOCK_K
        right += BLOCK_K * stride_j

    w_on, w_off = term_weights(grad_loss, grad_on_diagonal, grad_off_diagonal, lambd, scale)
    # In halves: with all columns at once both views of y would be in registers beside the product, which then
    # could have half as many columns.
    HALF: tl.constexpr = BLOCK_N // 2
    halves = halves_of(accumulator)
    for half in tl.static_range(2):
        finish_columns(
            halves[half],
            j * BLOCK_N + half * HALF + tl.arange(0, HALF),
            rows,
            below,
            first_row,
            w_on,
            w_off,
            y,
            ld,
            rstd,
            c_diagonal,
            squares,
            count,
            width,
            first_column,
            dz,
            N,
            samples,
            D,
            freedom,
            VIEW,
        )
