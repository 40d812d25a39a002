"""The arithmetic of the CUDA kernels' epilogues (csrc/cuda/numeric.h) against float64 and docs/mathematics.md.

Tolerances are those of the roundings to float32 that a formula has on the way from its summands: see bound().
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_kernels.build_report import host_module, why_not_built

cuda = getattr(host_module(), "cuda", None)
pytestmark = [
    pytest.mark.runs_on("cpu"),
    pytest.mark.skipif(cuda is None, reason=f"bt_kernels._host: {why_not_built()}"),
]

UNIT = 2.0**-24  # of a rounding to float32, relative

# Far enough from float32's ends for products of a few.
numbers = st.one_of(
    st.just(0.0), st.floats(2.0**-10, 2.0**10, width=32), st.floats(-(2.0**10), -(2.0**-10), width=32)
)
positive = st.floats(2.0**-10, 2.0**10, width=32)
optional = st.one_of(st.none(), numbers)
weights = st.tuples(numbers, numbers)
samples = st.integers(2, 1 << 20)
unbiased = st.booleans()


def bound(*summands: tuple[float, int]) -> float:
    """Of the error of a sum, given each summand and the roundings that it goes through, the sum's included."""
    return sum(abs(x) * count * UNIT / (1 - count * UNIT) for x, count in summands)


def total(*summands: tuple[float, int]) -> float:
    return sum(x for x, _ in summands)


def check(value: float, *summands: tuple[float, int]) -> None:
    assert abs(value - total(*summands)) <= bound(*summands)


def scaled(factor: float, summands: list[tuple[float, int]], roundings: int) -> list[tuple[float, int]]:
    return [(factor * x, count + roundings) for x, count in summands]


@given(optional, optional, optional, positive, positive)
def test_term_weights(loss, on_diagonal, off_diagonal, lambd, scale):
    on, off = cuda.term_weights(loss, on_diagonal, off_diagonal, lambd, scale)
    check(on, (scale * (loss or 0), 2), (on_diagonal or 0, 1))
    check(off, (scale * lambd * (loss or 0), 3), (off_diagonal or 0, 1))


def diagonal(c_ii: float, w: tuple[float, float]) -> list[tuple[float, int]]:
    on, off = w
    return [(2 * on * (c_ii - 1), 3), (-2 * off * c_ii, 2)]


@given(numbers, weights)
def test_diagonal_weight(c_ii, w):
    check(cuda.diagonal_weight(c_ii, w), *diagonal(c_ii, w))


@given(numbers, numbers, positive, positive, weights, positive, samples, unbiased)
def test_gram_feature(t_y, c_ii, rstd, shift, w, eps, n, unbiased):
    """dz = rstd (alpha unit T + y_other d / N - y_own (q / M - alpha shift eps rstd^2)),
    q = alpha unit sum T y + d C_ii."""
    of_product, of_other, of_own = cuda.gram_feature(t_y, c_ii, rstd, shift, w, eps, n, n - unbiased, False)
    alpha, unit = 2 * w[1] / n**2, 2.0 ** math.floor(math.log2(shift))
    check(of_product, (rstd * alpha * unit, 3))
    check(of_other, *scaled(rstd / n, diagonal(c_ii, w), 2))
    q = [(alpha * unit * t_y, 4), *scaled(c_ii, diagonal(c_ii, w), 2)]
    taken_out = [*scaled(1 / (n - unbiased), q, 2), (-alpha * shift * eps * rstd**2, 7)]
    check(of_own, *scaled(rstd, taken_out, 1))


@given(numbers, numbers, positive, weights, positive, samples)
def test_gram_feature_of_standardized_embeddings(t_y, c_ii, shift, w, eps, n):
    """Nothing is taken out, whatever q, and all of the shift is put back, whatever eps."""
    *factors, own = cuda.gram_feature(t_y, c_ii, 1.0, shift, w, eps, n, n, True)
    *of_rows, _ = cuda.gram_feature(t_y, c_ii, 1.0, shift, w, eps, n, n, False)
    assert factors == of_rows
    check(own, (-2 * w[1] / n**2 * shift, 9))


@given(positive, numbers, weights, samples)
def test_correlation_feature_of_standardized_embeddings(squares, c_ii, w, n):
    *factors, own = cuda.correlation_feature(squares, c_ii, 1.0, w, n, n, True)
    *of_rows, _ = cuda.correlation_feature(squares, c_ii, 1.0, w, n, n, False)
    assert factors == of_rows and own == 0


@pytest.mark.parametrize("standardized", [False, True])
def test_nan_reaches_the_gradient(standardized):
    w = (1.0, 1.0)
    assert math.isnan(cuda.gram_feature(math.nan, 0.5, 1.0, 1.0, w, 1.0, 9, 9, standardized)[2])
    assert math.isnan(cuda.correlation_feature(math.nan, 0.5, 1.0, w, 9, 9, standardized)[2])


@given(positive, numbers, positive, weights, samples, unbiased)
def test_correlation_feature(squares, c_ii, rstd, w, n, unbiased):
    """dz = rstd (2 w_off / N C_off y_other + y_other d' / N - y_own q / M), d' = 2 w_on (C_ii - 1),
    q with d' C_ii."""
    of_product, of_other, of_own = cuda.correlation_feature(squares, c_ii, rstd, w, n, n - unbiased, False)
    on = 2 * w[0] * (c_ii - 1)
    check(of_product, (2 * rstd * w[1] / n, 2))
    check(of_other, (rstd * on / n, 4))
    check(of_own, *scaled(rstd / (n - unbiased), [(2 * w[1] * squares, 2), (on * c_ii, 4)], 2))


@given(numbers, numbers, numbers, numbers, numbers, numbers)
def test_feature_gradient(of_product, of_other, of_own, t, y_own, y_other):
    value = cuda.feature_gradient(of_product, of_other, of_own, t, y_own, y_other)
    check(value, (of_product * t, 3), (of_other * y_other, 3), (-of_own * y_own, 2))


@given(st.floats(0, 1e12), st.floats(0, 1e6), samples)
def test_gram_off_diagonal(inner, squares, n):
    assert cuda.gram_off_diagonal(inner, squares, n) == max(inner / n / n - squares, 0)


def test_gram_off_diagonal_keeps_nan_and_infinity():
    assert math.isnan(cuda.gram_off_diagonal(math.nan, 1.0, 10))
    assert math.isnan(cuda.gram_off_diagonal(math.inf, math.inf, 10))
    assert cuda.gram_off_diagonal(math.inf, 1.0, 10) == math.inf


@given(st.floats(0, 1e6), st.floats(0, 1e12), st.floats(0, 1), st.floats(0, 10))
def test_loss_terms(on_diagonal, off_diagonal, lambd, scale):
    expected = scale * (on_diagonal + lambd * off_diagonal)
    loss, *terms = cuda.loss_terms(on_diagonal, off_diagonal, lambd, scale)
    assert math.isclose(loss, expected, rel_tol=2.0**-51) and terms == [on_diagonal, off_diagonal]


def of_every_exponent(low_bits: np.ndarray) -> np.ndarray:
    """float32 of both signs with these 23 bits of mantissa, subnormal ones too."""
    bits = np.arange(255, dtype=np.uint32)[:, None] << 23 | low_bits.astype(np.uint32)
    return np.concatenate([bits, bits | 1 << 31]).view(np.float32)


def mantissas() -> np.ndarray:
    """About the steps of 10 bits and halfway between them, and others."""
    steps = np.array([0, 1, 2, 511, 512, 1023])[:, None] << 13
    about = np.array([0, 1, 4095, 4096, 4097, 8191])
    return np.unique(np.append((steps + about).ravel(), np.random.default_rng(0).integers(0, 1 << 23, 200)))


def test_rounds_to_the_nearest_tf32():
    x = of_every_exponent(mantissas())
    result = cuda.round_to_tf32(x)
    assert not (result.view(np.uint32) & 0x1FFF).any()
    exact = x.astype(np.float64)
    exponent = np.maximum((x.view(np.uint32) >> 23 & 0xFF).astype(int), 1) - 127
    spacing = 2.0 ** (exponent - 10)
    nearest = np.copysign(np.floor(abs(exact) / spacing + 0.5) * spacing, exact)  # ties away from zero
    with np.errstate(over="ignore"):
        assert (result == nearest.astype(np.float32)).all()
    assert (np.signbit(result) == np.signbit(x)).all()


def test_tf32_keeps_nan_and_infinity():
    payloads = np.append(mantissas()[1:], (1 << 23) - 1).astype(np.uint32)
    nan = (np.uint32(0x7F800000) | payloads).view(np.float32)
    assert np.isnan(cuda.round_to_tf32(np.concatenate([nan, -nan]))).all()
    assert cuda.round_to_tf32(np.float32([np.inf, -np.inf])).tolist() == [math.inf, -math.inf]


def test_power_of_two_below():
    x = abs(of_every_exponent(mantissas()))
    result = cuda.power_of_two_below(x).astype(np.float64)
    _, exponent = np.frexp(x.astype(np.float64))
    exponent[x == 0] = -126
    assert (result == 2.0 ** np.clip(exponent - 1, -100, 100)).all()
    assert float(cuda.power_of_two_below(np.float32(np.inf))) == 2.0**100
