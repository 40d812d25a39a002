"""Tiles: index arithmetic of their schedules, and halves of one."""

import triton
import triton.language as tl


@triton.jit
def triangle_tile(index, side):
    """Row and column of the index-th tile on or above the diagonal of side x side tiles, row by row.

    Row i begins at i * side - i * (i - 1) / 2. The root gives i but for its rounding, which the two steps mend.
    """
    b = 2 * side + 1
    i = ((b - tl.sqrt((b * b - 8 * index).to(tl.float32))) * 0.5).to(tl.int32)
    i = tl.minimum(tl.maximum(i, 0), side - 1)
    i = tl.where(i * side - (i * (i - 1)) // 2 > index, i - 1, i)
    i = tl.where((i + 1) * side - ((i + 1) * i) // 2 <= index, i + 1, i)
    return i, i + index - (i * side - (i * (i - 1)) // 2)


@triton.jit
def halves_of(x):
    """Left and right half of a tile's columns, of the registers that they are in: nothing moves."""
    return tl.split(tl.permute(tl.reshape(x, (x.shape[0], 2, x.shape[1] // 2)), (0, 2, 1)))


@triton.jit
def packed_offset(rows, columns, N):
    """Where (row, column) of a symmetric matrix is in its upper triangle, row by row with the diagonal."""
    upper = tl.minimum(rows, columns).to(tl.int64)
    return upper * (2 * N - 1 - upper) // 2 + tl.maximum(rows, columns)


@triton.jit
def grouped_tile(index, rows, columns, GROUP: tl.constexpr):
    """Row and column of the index-th of rows x columns tiles, GROUP rows at a time.

    Neighbours in time share operands, so that they come from the L2 cache.
    """
    in_group = GROUP * columns
    first = (index // in_group) * GROUP
    height = tl.minimum(rows - first, GROUP)
    within = index % in_group
    return first + within % height, within // height
