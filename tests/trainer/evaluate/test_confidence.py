import numpy as np
import pytest
from scipy import stats

from bt_kernels.trainer.evaluate.confidence import binomial_interval, half_width


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_half_width_is_students(count):
    values = np.random.default_rng(count).normal(0.7, 0.01, count)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert half_width(list(values)) == pytest.approx((high - low) / 2, rel=1e-9)


def test_half_width_of_three_values_by_hand():
    # t with 2 degrees of freedom at 97.5 %, from a printed table: 4.303; the deviation of 1, 2, 3 is 1.
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5, rel=1e-4)


def test_a_single_seed_has_no_width():
    assert half_width([0.7]) is None


def test_equal_values_have_no_spread():
    assert half_width([0.5, 0.5, 0.5]) == 0


@pytest.mark.parametrize("images", [1, 20, 500, 50_000])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_binomial_interval_is_wilsons(share, images):
    right = round(share * images)
    expected = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    low, high = binomial_interval(right / images, images)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= right / images <= high <= 1
