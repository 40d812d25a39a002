"""The last step of both forwards, at once or in halves: the loss, its two terms and the shifts from their sums.

    on_diagonal   sum_i (1 - C_ii)^2
    off_diagonal  gram: max(<K_a, K_b> / N^2 - sum_i C_ii^2, 0); correlation: sum_{i != j} C_ij^2, as it is
    loss          scale * (on_diagonal + lambd * off_diagonal)

Grid: one program, adding in float64 and in a fixed order.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import SUM_BLOCK, element, sum_in_order, sums_in_order


@triton.jit
def finish_terms_kernel(
    sums,  # (4, columns) float64 as of standardize; correlation: the first row
    columns,
    squares,  # (count,) float64: gram: shares of <K_a, K_b>; correlation: of the sum of C_ij^2, i != j
    count,
    loss,  # () float32
    on_diagonal,  # () float32
    off_diagonal,  # () float32
    shifts,  # gram: (2,) float32, trace(K_a) / N and trace(K_b) / N; None: correlation
    N,
    lambd,
    scale,
):
    off = sum_in_order(squares, count, SUM_BLOCK)
    if shifts is not None:
        all_sums = sums_in_order(sums, columns, 4)
        on = element(all_sums, 0, 4)
        off = off / N / N - element(all_sums, 1, 4)
        # A sum of squares: where rounding in the difference leaves less than nothing, it was nothing. NaN stays.
        off = tl.where(off < 0.0, 0.0, off)
        place = tl.arange(0, 4)
        tl.store(shifts + place - 2, all_sums.to(tl.float32), place >= 2)
    else:
        on = sum_in_order(sums, columns, SUM_BLOCK)
    tl.store(loss, (scale * (on + lambd * off)).to(tl.float32))
    tl.store(on_diagonal, on.to(tl.float32))
    tl.store(off_diagonal, off.to(tl.float32))
