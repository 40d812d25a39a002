"""What the loss's formula says must hold for any embeddings.

Two computations of the same number may differ by what the standard (accuracy.py) allows each of them.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_kernels import barlow_twins_terms
from tests.support.accuracy import Formula, Yardstick
from tests.support.inputs import DTYPES, views
from tests.support.target import device

# The fixtures only name a backend and a formulation; nothing in them has to be made anew for each example.
property_test = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
shapes = st.tuples(st.integers(2, 40), st.integers(1, 40))
seeds = st.integers(0, 2**31)
# eps = 0 is what makes the loss exactly invariant to the scale of a feature.
EXACT = Formula(eps=0.0, lambd=0.3)


def assert_same_terms(terms, first, second, formula):
    """For float64 and float32: both within the standard of its own input, and the two truths the same but for
    float64 rounding."""
    yardsticks = [Yardstick(None, *pair, formula) for pair in (first, second)]
    values = [terms(*pair, **formula.options()) for pair in (first, second)]
    bounds = zip(*(y.term_bounds() for y in yardsticks), strict=True)
    for value, other, allowed in zip(*values, bounds, strict=True):
        assert abs(value.double() - other.double()).item() <= sum(allowed)


@pytest.mark.backends("cpu", "eager", why="float64: arbitrary factors would be rounded in float32")
@property_test
@given(shape=shapes, seed=seeds, data=st.data())
def test_invariant_to_scale_and_shift_of_a_feature(terms, shape, seed, data):
    d = shape[1]
    z_a, z_b = views(*shape, torch.float64, seed)
    scale, shift = (
        z_a.new_tensor(data.draw(st.lists(st.floats(low, high), min_size=d, max_size=d)))
        for low, high in ((0.01, 100), (-10, 10))
    )
    assert_same_terms(terms, (z_a, z_b), (z_a * scale + shift, z_b), EXACT)
    assert_same_terms(terms, (z_a, z_b), (z_a, z_b * scale + shift), EXACT)


@pytest.mark.long_interpreted("follows from the standard that all shapes are held to")
@property_test
@given(shape=shapes, seed=seeds, data=st.data())
def test_invariant_to_scale_and_shift_that_round_nothing(terms, shape, seed, data):
    """Powers of two, and shifts by whole numbers of embeddings that are multiples of 2^-10: exact in float32."""
    d = shape[1]
    z_a, z_b = ((1024 * z).round() / 1024 for z in views(*shape, torch.float32, seed))
    exponent, shift = (
        z_a.new_tensor(data.draw(st.lists(st.integers(-most, most), min_size=d, max_size=d)))
        for most in (20, 1000)
    )
    assert_same_terms(terms, (z_a, z_b), ((z_a + shift) * 2**exponent, z_b), EXACT)


@pytest.mark.long_interpreted("follows from the standard that all shapes are held to")
@property_test
@given(shape=shapes, seed=seeds)
def test_symmetric_in_the_views(terms, shape, seed):
    z_a, z_b = views(*shape, torch.float32, seed)
    assert_same_terms(terms, (z_a, z_b), (z_b, z_a), Formula())


@pytest.mark.long_interpreted("follows from the standard that all shapes are held to")
@property_test
@given(shape=shapes, seed=seeds, data=st.data())
def test_order_of_samples_and_features_does_not_matter(terms, shape, seed, data):
    z_a, z_b = views(*shape, torch.float32, seed)
    rows, columns = (torch.tensor(data.draw(st.permutations(range(count))), device=device()) for count in shape)
    assert_same_terms(terms, (z_a, z_b), (z_a[rows], z_b[rows]), Formula())
    assert_same_terms(terms, (z_a, z_b), (z_a[:, columns], z_b[:, columns]), Formula())


@property_test
@given(shape=shapes, seed=seeds, data=st.data())
def test_terms_are_not_negative_and_add_up(terms, widest, shape, seed, data):
    dtype = data.draw(st.sampled_from([dtype for dtype in DTYPES if dtype.itemsize <= widest.itemsize]))
    loss, on_diagonal, off_diagonal = terms(*views(*shape, dtype, seed), lambd=0.3, scale=1.7)
    assert on_diagonal >= 0 and off_diagonal >= 0
    torch.testing.assert_close(loss, 1.7 * (on_diagonal + 0.3 * off_diagonal))


@property_test
@given(shape=shapes, seed=seeds)
def test_formulations_agree(backend, widest, shape, seed):
    z_a, z_b = views(*shape, widest, seed)
    both = [barlow_twins_terms(z_a, z_b, backend=backend, formulation=name) for name in ("gram", "correlation")]
    bounds = Yardstick(None, z_a, z_b).term_bounds()
    assert all(abs(x - y).item() <= 2 * bound for x, y, bound in zip(*both, bounds, strict=True))


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@property_test
@given(data=st.data())
def test_small_whole_numbers_meet_the_standard(terms, yardstick_of, dtype, data):
    """Ties, features that do not vary, repeated samples and equal features come up often here."""
    n, d = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 5))
    numbers = st.lists(st.integers(-2, 2), min_size=n * d, max_size=n * d)
    z_a, z_b = (torch.tensor(data.draw(numbers), dtype=dtype, device=device()).view(n, d) for _ in range(2))
    result = terms(z_a, z_b)
    assert result.off_diagonal >= 0
    yardstick_of(z_a, z_b).check_terms(result)
