"""gram, behind gram_tiles: K_a and K_b from their split tiles, and <K_a, K_b>.

    inner    sum_ij K_a[i,j] K_b[i,j], each program's share; tiles above the diagonal count twice
    K        (K - shift I) / unit, shift = trace(K) / N, stored with its mirror image as the backward's operand

The shift keeps what the standardization's backward takes out again from costing digits (docs/mathematics.md). unit
is the power of two below the shift and keeps K in float16's range, large or collapsed: |K_ij| <= trace(K) =
N shift.

Where the features are a share of all, other shares have to be added first, and this runs before and after:

    split tiles -> triangles      K - shift I of these features in float32, and the totals of sums
    triangles -> inner, K         from the sums of both over all shares

Grid: (tiles, BLOCK / ROWS). The splits of the features are added in their order.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import as_operand, element, power_of_two_below, sums_in_order
from bt_kernels.backends.triton.kernels.tiles import packed_offset, triangle_tile


@triton.jit
def gram_combine_kernel(
    split_tiles,  # (splits, 2, tiles, BLOCK, BLOCK) float32; None: K is in triangles
    splits,
    sums,  # (4, columns) float64 as of standardize
    columns,
    triangles,  # (2, N (N + 1) / 2) float32: K - shift I, rows from the diagonal on; an output of split_tiles
    totals,  # (4,) float64: sums added up, the shifts as they were taken from triangles; None: not asked for
    inner,  # (tiles * BLOCK / ROWS,) float64, or None
    k,  # (2, N, ldk) operand type, zero from N on; None: no gradient is needed
    ldk,
    N,
    side,
    TF32: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    tile = tl.program_id(0)
    strip = tl.program_id(1)
    i, j = triangle_tile(tile, side)
    within_rows = strip * ROWS + tl.arange(0, ROWS)
    within_columns = tl.arange(0, BLOCK)
    rows = (i * BLOCK + within_rows)[:, None]
    cols = (j * BLOCK + within_columns)[None, :]
    valid = (rows < N) & (cols < N)
    diagonal = rows == cols
    if triangles is not None:
        packed = packed_offset(rows, cols, N)
        triangle = N.to(tl.int64) * (N + 1) // 2
    if triangles is not None or k is not None:
        shifts = sums_in_order(sums + 2 * columns, columns, 2)
        shift_a = element(shifts, 0, 2)
        shift_b = element(shifts, 1, 2)
    if split_tiles is None:
        k_a = tl.load(triangles + packed, valid, 0.0)
        k_b = tl.load(triangles + triangle + packed, valid, 0.0)
        unshifted_a = k_a + tl.where(diagonal, shift_a, 0.0)
        unshifted_b = k_b + tl.where(diagonal, shift_b, 0.0)
    else:
        tiles = tl.num_programs(0).to(tl.int64)
        area = BLOCK * BLOCK
        offsets = tile.to(tl.int64) * area + within_rows[:, None] * BLOCK + within_columns[None, :]
        k_a = tl.zeros((ROWS, BLOCK), tl.float32)
        k_b = tl.zeros((ROWS, BLOCK), tl.float32)
        # Unrolled: else each split's loads would wait for the sums of the one before.
        for split in tl.range(0, splits, loop_unroll_factor=4):
            k_a += tl.load(split_tiles + (2 * split) * tiles * area + offsets)
            k_b += tl.load(split_tiles + (2 * split + 1) * tiles * area + offsets)
        unshifted_a = k_a.to(tl.float64)
        unshifted_b = k_b.to(tl.float64)
        if triangles is not None or k is not None:
            k_a = tl.where(diagonal, k_a - shift_a.to(tl.float32), k_a)
            k_b = tl.where(diagonal, k_b - shift_b.to(tl.float32), k_b)
    if inner is not None:
        weight = tl.where(i == j, 1.0, 2.0)
        product = tl.where(valid, unshifted_a * unshifted_b, 0.0)
        tl.store(inner + tile * tl.num_programs(1) + strip, weight * tl.sum(tl.sum(product, 1), 0))
    if totals is not None:
        on_or_above = valid & (rows <= cols)
        tl.store(triangles + packed, k_a, on_or_above)
        tl.store(triangles + triangle + packed, k_b, on_or_above)
        if tile + strip == 0:
            place = tl.arange(0, 2)
            tl.store(totals + place, sums_in_order(sums, columns, 2))
            tl.store(totals + 2 + place, shifts.to(tl.float32).to(tl.float64))
    if k is not None:
        DTYPE: tl.constexpr = k.dtype.element_ty
        k_a = k_a / power_of_two_below(shift_a.to(tl.float32))
        k_b = k_b / power_of_two_below(shift_b.to(tl.float32))
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
