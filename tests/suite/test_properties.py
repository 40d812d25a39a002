"""One test for many properties."""

import pytest

from tests.support.properties import assert_each

pytestmark = pytest.mark.runs_on("cpu")


def is_even(number):
    assert number % 2 == 0, f"{number} is odd"


def is_small(number):
    assert number < 10, f"{number} is 10 or more"


def test_all_that_fails_is_named():
    with pytest.raises(AssertionError, match=r"(?s)^is_even: 11 is odd.*\nis_small: 11 is 10 or more"):
        assert_each([is_even, is_small], 11)
    with pytest.raises(AssertionError, match=r"^is_small: 12"):
        assert_each([is_even, is_small], 12)


def test_nothing_fails():
    assert_each([is_even, is_small], 4)


def test_another_error_is_no_property_that_failed():
    with pytest.raises(TypeError):
        assert_each([is_even], None)
