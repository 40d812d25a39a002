"""standardize: statistics, y_a, y_b, C_ii and the sums over features that follow from them.

    mean, M2          per feature over the batch: of distances from the first row, then of deviations from the
                      mean, never E[x^2] - E[x]^2
    rstd              1 / sqrt(M2 / M + eps), M = variance_divisor: N - 1 if unbiased, else N
    y                 (z - mean) * rstd, rounded once to the operand type of the matrix products
    C_ii              sum_n y_a y_b / N, of y before that rounding
    sums              sum_i (1 - C_ii)^2, sum_i C_ii^2, sum_ni y_a^2 / N, sum_ni y_b^2 / N, the last three of y as
                      rounded, as it enters the products that they are compared with

Where mean and rstd are given instead, the rows may be a part of the batch: then so are C_ii and the sums.

Grid: one program per BLOCK_D features, all N rows of both views. Up to N = BLOCK_N the embeddings are read once
and stay in registers; beyond it they are read twice more, which the caches serve for the most part.

Elements and their sums are float32, the sums of all programs float64. The mean is kept as high + low: subtracting
a rounded mean of 1e4 would leave columns of y that do not sum to zero. Squares are taken of deviations scaled by a
power of two, or they overflow for |z| > 1e19.

A sum over the rows of a chunk takes many more instructions than what is summed: shuffles and barriers, and for 8
columns in every thread. So chunks are added up element by element, and the rows of that once.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from bt_kernels.backends.triton.kernels.numeric import as_operand

STAGES = tl.constexpr(3)  # chunks of rows under way from memory, the one in registers included


class ViewEmbeddings(NamedTuple):
    """Those of one view: (N, D), with any strides."""

    z: Tensor
    stride_n: int
    stride_d: int


class Standardized(NamedTuple):
    """What the kernel leaves."""

    y: Tensor  # (2, N, ld) operands of the matrix products, zero from D on
    rstd: Tensor  # (2, D) float32
    c_diagonal: Tensor  # (D,) float32
    sums: Tensor  # (4, programs) float64: as above, per program


class ColumnStatistics(NamedTuple):
    """One view's, per column of a program, float32: the mean is high + low."""

    high: tl.tensor
    low: tl.tensor
    rstd: tl.tensor


@triton.jit
def rows_of(view: ViewEmbeddings, rows, columns, mask):
    offsets = rows.to(tl.int64)[:, None] * view.stride_n + columns.to(tl.int64)[None, :] * view.stride_d
    return tl.load(view.z + offsets, mask, 0.0).to(tl.float32)


@triton.jit
def first_row_of(view: ViewEmbeddings, columns, in_columns):
    return tl.load(view.z + columns.to(tl.int64) * view.stride_d, in_columns, 0.0).to(tl.float32)


@triton.jit
def sum_in_two_parts(a, b):
    """The float32 nearest to a + b, and what is then missing, exactly."""
    high = a + b
    of_b = high - a
    return high, (a - (high - of_b)) + (b - of_b)


@triton.jit
def scale_of_squares(most):
    """Powers of two down and up = 1 / down, float64: squares of what is at most `most` times down are near 1."""
    exponent = (most.to(tl.int32, bitcast=True) >> 23) & 0xFF
    exponent = tl.minimum(tl.maximum(exponent, 27), 253)  # both 2^e and 2^-e are normal numbers
    down = ((254 - exponent) << 23).to(tl.float32, bitcast=True)
    return down, (exponent << 23).to(tl.float32, bitcast=True).to(tl.float64)


@triton.jit
def moments_of_rows(x, first, mask, size):
    """Mean (high + low) and sum of squared deviations of all rows, per column."""
    distance = tl.where(mask, x - first[None, :], 0.0)
    down, up = scale_of_squares(tl.max(tl.abs(distance), 0))
    high, low = sum_in_two_parts(first, tl.sum(distance, 0) / size)
    deviation = tl.where(mask, x - high[None, :] - low[None, :], 0.0)
    # Where the first row is far from the others, what the sum of distances lost is much beside their y.
    lacking = tl.sum(deviation, 0) / size
    scaled = deviation * down[None, :]
    return high, low + lacking, tl.sum(scaled * scaled, 0).to(tl.float64) * up * up


@triton.jit
def distances_of_chunks(
    view: ViewEmbeddings, first, columns, in_columns, N, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Mean of the distances from the first row, and the largest of them, per column."""
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    most = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in tl.range(0, N, BLOCK_N, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        x = rows_of(view, rows, columns, mask)
        distance = tl.where(mask, x - first[None, :], 0.0)
        total += distance
        most = tl.maximum(most, tl.abs(distance))
    return tl.sum(total, 0) / N, tl.max(most, 0)


@triton.jit
def moments_of_chunks(view: ViewEmbeddings, columns, in_columns, N, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """As moments_of_rows, chunk by chunk. What the first mean lacks is the mean of the deviations from it."""
    first = first_row_of(view, columns, in_columns)
    distance, most = distances_of_chunks(view, first, columns, in_columns, N, BLOCK_N, BLOCK_D)
    high, low = sum_in_two_parts(first, distance)
    down, up = scale_of_squares(most)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    squares = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in tl.range(0, N, BLOCK_N, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        x = rows_of(view, rows, columns, mask)
        deviation = tl.where(mask, x - high[None, :] - low[None, :], 0.0)
        scaled = deviation * down[None, :]
        total += deviation
        squares += scaled * scaled
    lacking = tl.sum(total, 0) / N
    # Its square is nothing beside the variance.
    return high, low + lacking, tl.sum(squares.to(tl.float64), 0) * up * up


@triton.jit
def reciprocal_deviation(m2, variance_divisor, eps):
    return tl.rsqrt(m2 * (1.0 / variance_divisor) + eps).to(tl.float32)


@triton.jit
def given_statistics(mean, rstd, columns, in_columns):
    exact = tl.load(mean + columns, in_columns, 0.0)
    high = exact.to(tl.float32)
    low = (exact - high).to(tl.float32)
    return ColumnStatistics(high, low, tl.load(rstd + columns, in_columns, 0.0).to(tl.float32))


@triton.jit
def y_of(x, mask, of: ColumnStatistics):
    return tl.where(mask, (x - of.high[None, :] - of.low[None, :]) * of.rstd[None, :], 0.0)


@triton.jit
def store_operands(y_a, y_b, y, ld, rows, columns, N, TF32: tl.constexpr):
    """Rounds both views to what is stored, and returns that in float32."""
    DTYPE: tl.constexpr = y.dtype.element_ty
    operand_a = as_operand(y_a, DTYPE, TF32)
    operand_b = as_operand(y_b, DTYPE, TF32)
    offsets = rows.to(tl.int64)[:, None] * ld + columns[None, :]
    stored = (rows < N)[:, None] & (columns < ld)[None, :]
    tl.store(y + offsets, operand_a, stored)
    tl.store(y + tl.cast(N, tl.int64) * ld + offsets, operand_b, stored)
    return operand_a.to(tl.float32), operand_b.to(tl.float32)


@triton.jit
def standardize_kernel(
    view_a: ViewEmbeddings,
    view_b: ViewEmbeddings,
    given_mean,  # (2, D) float64, or None: the mean of these rows
    given_rstd,  # (2, D) float64, or None
    out: Standardized,
    ld,
    N,
    samples,  # of the whole batch, which divides C_ii
    D,
    eps,
    UNBIASED: tl.constexpr,
    TF32: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SINGLE: tl.constexpr,  # N <= BLOCK_N
):
    program = tl.program_id(0)
    columns = program * BLOCK_D + tl.arange(0, BLOCK_D)
    in_columns = columns < D
    if SINGLE:
        rows = tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        x_a = rows_of(view_a, rows, columns, mask)
        x_b = rows_of(view_b, rows, columns, mask)
    if given_mean is not None:
        of_a = given_statistics(given_mean, given_rstd, columns, in_columns)
        of_b = given_statistics(given_mean + D, given_rstd + D, columns, in_columns)
    else:
        if SINGLE:
            first_a = first_row_of(view_a, columns, in_columns)
            first_b = first_row_of(view_b, columns, in_columns)
            high_a, low_a, m2_a = moments_of_rows(x_a, first_a, mask, N)
            high_b, low_b, m2_b = moments_of_rows(x_b, first_b, mask, N)
        else:
            high_a, low_a, m2_a = moments_of_chunks(view_a, columns, in_columns, N, BLOCK_N, BLOCK_D)
            high_b, low_b, m2_b = moments_of_chunks(view_b, columns, in_columns, N, BLOCK_N, BLOCK_D)
        variance_divisor = (N - 1 if UNBIASED else N).to(tl.float64)
        of_a = ColumnStatistics(high_a, low_a, reciprocal_deviation(m2_a, variance_divisor, eps))
        of_b = ColumnStatistics(high_b, low_b, reciprocal_deviation(m2_b, variance_divisor, eps))
    tl.store(out.rstd + columns, of_a.rstd, in_columns)
    tl.store(out.rstd + D + columns, of_b.rstd, in_columns)

    if SINGLE:
        y_a = y_of(x_a, mask, of_a)
        y_b = y_of(x_b, mask, of_b)
        rounded_a, rounded_b = store_operands(y_a, y_b, out.y, ld, rows, columns, N, TF32)
        products = y_a * y_b
        rounded = rounded_a * rounded_b
        squares_a = rounded_a * rounded_a
        squares_b = rounded_b * rounded_b
    else:
        products = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
        rounded = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
        squares_a = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
        squares_b = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
        for start in tl.range(0, N, BLOCK_N, num_stages=STAGES):
            rows = start + tl.arange(0, BLOCK_N)
            mask = (rows < N)[:, None] & in_columns[None, :]
            x_a = rows_of(view_a, rows, columns, mask)
            x_b = rows_of(view_b, rows, columns, mask)
            y_a = y_of(x_a, mask, of_a)
            y_b = y_of(x_b, mask, of_b)
            rounded_a, rounded_b = store_operands(y_a, y_b, out.y, ld, rows, columns, N, TF32)
            products += y_a * y_b
            rounded += rounded_a * rounded_b
            squares_a += rounded_a * rounded_a
            squares_b += rounded_b * rounded_b

    c_ii = tl.sum(products, 0) / samples
    c_ii_rounded = tl.sum(rounded, 0) / samples
    trace_a = tl.sum(squares_a)
    trace_b = tl.sum(squares_b)
    tl.store(out.c_diagonal + columns, c_ii, in_columns)
    programs = tl.num_programs(0)
    distance = tl.where(in_columns, 1.0 - c_ii, 0.0)
    tl.store(out.sums + program, tl.sum((distance * distance).to(tl.float64), 0))
    tl.store(out.sums + programs + program, tl.sum((c_ii_rounded * c_ii_rounded).to(tl.float64), 0))
    tl.store(out.sums + 2 * programs + program, trace_a.to(tl.float64) / samples)
    tl.store(out.sums + 3 * programs + program, trace_b.to(tl.float64) / samples)
