"""gram, second half: K_a and K_b from their partial tiles, and <K_a, K_b>.

    inner    sum_ij K_a[i,j] K_b[i,j], each program's share; tiles above the diagonal count twice
    K        (K - shift I) / unit, shift = trace(K) / N, stored with its mirror image as the backward's operand

The shift keeps what the standardization's backward takes out again from costing digits (docs/mathematics.md). unit is
the power of two below the shift and keeps K in float16's range, large or collapsed: |K_ij| <= trace(K) = N shift.

Grid: (tiles, BLOCK / ROWS). The shares of the features are added in their order.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import SUM_BLOCK, as_operand, power_of_two_below, sum_in_order
from bt_kernels.backends.triton.kernels.tiles import triangle_tile


@triton.jit
def gram_combine_kernel(
    partial,  # (splits, 2, tiles, BLOCK, BLOCK) float32
    sums,  # (4, columns) float64 of standardize
    columns,
    inner,  # (tiles * BLOCK / ROWS,) float64
    k,  # (2, N, ldk) operand type, zero from N on; None: no gradient is needed
    ldk,
    N,
    side,
    splits,
    TF32: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    tile = tl.program_id(0)
    i, j = triangle_tile(tile, side)
    within_rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    within_columns = tl.arange(0, BLOCK)
    tiles = tl.num_programs(0).to(tl.int64)
    area = BLOCK * BLOCK
    offsets = tile.to(tl.int64) * area + within_rows[:, None] * BLOCK + within_columns[None, :]
    k_a = tl.zeros((ROWS, BLOCK), tl.float32)
    k_b = tl.zeros((ROWS, BLOCK), tl.float32)
    for split in range(0, splits):
        k_a += tl.load(partial + (2 * split) * tiles * area + offsets)
        k_b += tl.load(partial + (2 * split + 1) * tiles * area + offsets)
    rows = (i * BLOCK + within_rows)[:, None]
    cols = (j * BLOCK + within_columns)[None, :]
    valid = (rows < N) & (cols < N)
    weight = tl.where(i == j, 1.0, 2.0)
    product = tl.where(valid, k_a.to(tl.float64) * k_b.to(tl.float64), 0.0)
    tl.store(inner + tile * tl.num_programs(1) + tl.program_id(1), weight * tl.sum(tl.sum(product, 1), 0))
    if k is not None:
        DTYPE: tl.constexpr = k.dtype.element_ty
        shift_a = (sum_in_order(sums + 2 * columns, columns, SUM_BLOCK) / N).to(tl.float32)
        shift_b = (sum_in_order(sums + 3 * columns, columns, SUM_BLOCK) / N).to(tl.float32)
        diagonal = rows == cols
        k_a = tl.where(diagonal, k_a - shift_a, k_a) / power_of_two_below(shift_a)
        k_b = tl.where(diagonal, k_b - shift_b, k_b) / power_of_two_below(shift_b)
        k_a = as_operand(tl.where(valid, k_a, 0.0), DTYPE, TF32)
        k_b = as_operand(tl.where(valid, k_b, 0.0), DTYPE, TF32)
        view = N.to(tl.int64) * ldk
        stored = (rows < N) & (cols < ldk)
        upper = rows.to(tl.int64) * ldk + cols
        tl.store(k + upper, k_a, stored)
        tl.store(k + view + upper, k_b, stored)
        if i != j:
            lower = cols.to(tl.int64) * ldk + rows
            tl.store(k + lower, k_a, valid)
            tl.store(k + view + lower, k_b, valid)
