"""Arithmetic that several kernels share."""

import triton
import triton.language as tl

SUM_BLOCK = tl.constexpr(1024)


@triton.jit
def as_operand(x, DTYPE: tl.constexpr, TF32: tl.constexpr):
    """Float32 x, rounded to nearest as the operand of a matrix product: to DTYPE, or to tf32's 10 bits in float32.

    The tensor cores cut the bits that tf32 lacks off, which leans towards zero; after this nothing is left to cut.
    """
    if TF32:
        bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
        return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)  # the sum would turn a NaN into a number
    return x.to(DTYPE)


@triton.jit
def sum_in_order(values, count, BLOCK: tl.constexpr):
    """Sum of count float64 numbers in memory, always in the same order."""
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total += tl.load(values + index, index < count, 0.0)
    return tl.sum(total, 0)


@triton.jit
def sums_in_order(values, columns, ROWS: tl.constexpr):
    """The sums of the (ROWS, columns) float64 numbers' rows, all at once: what a sum takes is latency."""
    BLOCK: tl.constexpr = SUM_BLOCK // ROWS
    row = tl.arange(0, ROWS)[:, None]
    total = tl.zeros((ROWS, BLOCK), tl.float64)
    for start in range(0, columns, BLOCK):
        index = start + tl.arange(0, BLOCK)[None, :]
        total += tl.load(values + row * columns + index, index < columns, 0.0)
    return tl.sum(total, 1)


@triton.jit
def element(vector, place, SIZE: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, SIZE) == place, vector, 0.0), 0)


@triton.jit
def index(x, WIDE: tl.constexpr):
    """x as the factor of an offset: 64 bits only where they are needed, for they take twice the registers."""
    return x.to(tl.int64) if WIDE else x


@triton.jit
def power_of_two_below(x):
    """The power of two at or below float32 x > 0, within 2^-100 .. 2^100, so that it can be divided by exactly."""
    exponent = (x.to(tl.int32, bitcast=True) >> 23) & 0xFF
    return (tl.minimum(tl.maximum(exponent, 27), 227) << 23).to(tl.float32, bitcast=True)
