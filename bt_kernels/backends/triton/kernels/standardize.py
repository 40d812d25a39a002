"""standardize: statistics, y_a, y_b, C_ii and the sums over features that follow from them.

    mean, M2          per feature over the batch; chunks of rows are merged by Chan's update, never E[x^2] - E[x]^2
    rstd              1 / sqrt(M2 / (N - correction) + eps)
    y                 (z - mean) * rstd, rounded once to the operand type of the matrix products
    C_ii              sum_n y_a y_b / N, of y before that rounding
    sums              sum_i (1 - C_ii)^2, sum_i C_ii^2, sum_ni y_a^2 / N, sum_ni y_b^2 / N, the last three of y as
                      rounded, as it enters the products that they are compared with

Where mean and rstd are given instead, the rows may be a part of the batch: then so are C_ii and the sums.

Grid: one program per BLOCK_D features, all N rows of both views. Up to N = BLOCK_N the embeddings are read once
and stay in registers; beyond it they are read a second time, which the caches serve for the most part.

Elements and their sums are float32, chunks are merged in float64, and so are the sums of all programs. The mean is
kept as high + low: subtracting a rounded mean of 1e4 would leave columns of y that do not sum to zero. Squares are
taken of deviations scaled by a power of two, or they overflow for |z| > 1e19.
"""

import triton
import triton.language as tl

from bt_kernels.backends.triton.kernels.numeric import as_operand


@triton.jit
def rows_of(z, stride_n, stride_d, rows, columns, mask):
    offsets = rows.to(tl.int64)[:, None] * stride_n + columns.to(tl.int64)[None, :] * stride_d
    return tl.load(z + offsets, mask, 0.0).to(tl.float32)


@triton.jit
def sum_of_squares(x):
    """Per column, float64, of float32 x of any magnitude."""
    exponent = (tl.max(tl.abs(x), 0).to(tl.int32, bitcast=True) >> 23) & 0xFF
    exponent = tl.minimum(tl.maximum(exponent, 27), 253)  # both 2^e and 2^-e are normal numbers
    down = ((254 - exponent) << 23).to(tl.float32, bitcast=True)
    scaled = x * down[None, :]
    up = (exponent << 23).to(tl.float32, bitcast=True).to(tl.float64)
    return tl.sum(scaled * scaled, 0).to(tl.float64) * up * up


@triton.jit
def moments_of_chunk(x, mask, size):
    """Mean (high + low) and sum of squared deviations of the rows of one chunk, per column."""
    high = tl.sum(x, 0) / size
    centred = tl.where(mask, x - high[None, :], 0.0)
    low = tl.sum(centred, 0) / size
    centred = tl.where(mask, centred - low[None, :], 0.0)
    return high, low, sum_of_squares(centred)


@triton.jit
def moments_of_chunks(z, stride_n, stride_d, columns, in_columns, N, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """The same over all rows, chunk by chunk."""
    mean = tl.zeros((BLOCK_D,), tl.float64)
    m2 = tl.zeros((BLOCK_D,), tl.float64)
    for start in range(0, N, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        size = tl.minimum(N - start, BLOCK_N).to(tl.float32)
        chunk_high, chunk_low, chunk_m2 = moments_of_chunk(
            rows_of(z, stride_n, stride_d, rows, columns, mask), mask, size
        )
        share = size.to(tl.float64) / (start + size.to(tl.float64))
        delta = chunk_high.to(tl.float64) + chunk_low - mean
        mean += delta * share
        m2 += chunk_m2 + delta * delta * share * start
    high = mean.to(tl.float32)
    return high, (mean - high).to(tl.float32), m2


@triton.jit
def reciprocal_deviation(m2, freedom, eps):
    return (1.0 / tl.sqrt(m2 / freedom + eps)).to(tl.float32)


@triton.jit
def given_statistics(mean, rstd, columns, in_columns):
    """Mean (high + low) and rstd of these columns."""
    whole = tl.load(mean + columns, in_columns, 0.0)
    high = whole.to(tl.float32)
    return high, (whole - high).to(tl.float32), tl.load(rstd + columns, in_columns, 0.0).to(tl.float32)


@triton.jit
def standardize_kernel(
    z_a,  # (N, D) any strides
    z_b,  # (N, D)
    stride_an,
    stride_ad,
    stride_bn,
    stride_bd,
    given_mean,  # (2, D) float64, or None: the mean of these rows
    given_rstd,  # (2, D) float64, or None
    y,  # (2, N, ld) operand type; columns D..ld are set to zero
    ld,
    rstd,  # (2, D) float32
    c_diagonal,  # (D,) float32
    sums,  # (4, programs) float64, per program
    N,
    samples,  # of the whole batch, which divides C_ii
    D,
    eps,
    correction,  # 1: unbiased variance
    TF32: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SINGLE: tl.constexpr,  # N <= BLOCK_N
):
    program = tl.program_id(0)
    columns = program * BLOCK_D + tl.arange(0, BLOCK_D)
    in_columns = columns < D
    view = tl.cast(N, tl.int64) * ld
    DTYPE: tl.constexpr = y.dtype.element_ty
    if SINGLE:
        rows = tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        x_a = rows_of(z_a, stride_an, stride_ad, rows, columns, mask)
        x_b = rows_of(z_b, stride_bn, stride_bd, rows, columns, mask)
    if given_mean is not None:
        high_a, low_a, rstd_a = given_statistics(given_mean, given_rstd, columns, in_columns)
        high_b, low_b, rstd_b = given_statistics(given_mean + D, given_rstd + D, columns, in_columns)
    else:
        if SINGLE:
            high_a, low_a, m2_a = moments_of_chunk(x_a, mask, N.to(tl.float32))
            high_b, low_b, m2_b = moments_of_chunk(x_b, mask, N.to(tl.float32))
        else:
            high_a, low_a, m2_a = moments_of_chunks(
                z_a, stride_an, stride_ad, columns, in_columns, N, BLOCK_N, BLOCK_D
            )
            high_b, low_b, m2_b = moments_of_chunks(
                z_b, stride_bn, stride_bd, columns, in_columns, N, BLOCK_N, BLOCK_D
            )
        freedom = (N - correction).to(tl.float64)
        rstd_a = reciprocal_deviation(m2_a, freedom, eps)
        rstd_b = reciprocal_deviation(m2_b, freedom, eps)
    tl.store(rstd + columns, rstd_a, in_columns)
    tl.store(rstd + D + columns, rstd_b, in_columns)

    c = tl.zeros((BLOCK_D,), tl.float32)
    c_rounded = tl.zeros((BLOCK_D,), tl.float32)
    trace_a = 0.0
    trace_b = 0.0
    for start in range(0, N, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        mask = (rows < N)[:, None] & in_columns[None, :]
        if not SINGLE:
            x_a = rows_of(z_a, stride_an, stride_ad, rows, columns, mask)
            x_b = rows_of(z_b, stride_bn, stride_bd, rows, columns, mask)
        y_a = tl.where(mask, (x_a - high_a[None, :] - low_a[None, :]) * rstd_a[None, :], 0.0)
        y_b = tl.where(mask, (x_b - high_b[None, :] - low_b[None, :]) * rstd_b[None, :], 0.0)
        c += tl.sum(y_a * y_b, 0)
        operand_a = as_operand(y_a, DTYPE, TF32)
        operand_b = as_operand(y_b, DTYPE, TF32)
        offsets = rows.to(tl.int64)[:, None] * ld + columns[None, :]
        stored = (rows < N)[:, None] & (columns < ld)[None, :]
        tl.store(y + offsets, operand_a, stored)
        tl.store(y + view + offsets, operand_b, stored)
        y_a = operand_a.to(tl.float32)
        y_b = operand_b.to(tl.float32)
        c_rounded += tl.sum(y_a * y_b, 0)
        trace_a += tl.sum(tl.sum(y_a * y_a, 0), 0)
        trace_b += tl.sum(tl.sum(y_b * y_b, 0), 0)

    c = c / samples
    c_rounded = c_rounded / samples
    tl.store(c_diagonal + columns, c, in_columns)
    programs = tl.num_programs(0)
    distance = tl.where(in_columns, 1.0 - c, 0.0)
    tl.store(sums + program, tl.sum((distance * distance).to(tl.float64), 0))
    tl.store(sums + programs + program, tl.sum((c_rounded * c_rounded).to(tl.float64), 0))
    tl.store(sums + 2 * programs + program, trace_a.to(tl.float64) / samples)
    tl.store(sums + 3 * programs + program, trace_b.to(tl.float64) / samples)
