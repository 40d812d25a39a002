"""What is left of the combinations of parameters, where each value or every two values are to meet."""

from itertools import combinations, product

import pytest

from tests.support.covering import covering

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.runs_on("cpu")


def all_combinations(**parameters: int) -> list[dict[str, int]]:
    return [dict(zip(parameters, values, strict=True)) for values in product(*map(range, parameters.values()))]


def met(combinations_of: list[dict[str, int]], strength: int) -> set:
    return {few for values in combinations_of for few in combinations(sorted(values.items()), strength)}


SIZES = pytest.mark.parametrize("sizes", [(2, 3, 10), (2, 2, 2), (4, 1, 3), (2, 3, 4, 5)], ids=str)


@SIZES
def test_every_two_values_meet(sizes):
    everything = all_combinations(**{f"parameter_{index}": size for index, size in enumerate(sizes)})
    taken = [everything[place] for place in covering(everything, 2)]
    assert met(taken, 2) == met(everything, 2)
    assert len(taken) <= 1.5 * max(a * b for a, b in combinations(sizes, 2))


@SIZES
def test_each_value_is_there(sizes):
    everything = all_combinations(**{f"parameter_{index}": size for index, size in enumerate(sizes)})
    taken = [everything[place] for place in covering(everything, 1)]
    assert met(taken, 1) == met(everything, 1)
    assert len(taken) == max(sizes)


def test_what_was_left_out_before_is_not_asked_for():
    everything = [values for values in all_combinations(a=3, b=3, c=3) if values["a"] != values["b"]]
    taken = [everything[place] for place in covering(everything, 2)]
    assert met(taken, 2) == met(everything, 2)


def test_of_one_or_two_parameters_all_are_taken():
    assert covering(all_combinations(a=5), 2) == [0, 1, 2, 3, 4]
    assert covering(all_combinations(a=2, b=3), 2) == [0, 1, 2, 3, 4, 5]


def test_the_same_ones_each_time():
    everything = all_combinations(shape=10, dtype=3, formulation=2)
    assert covering(everything, 2) == covering(everything, 2)


def test_of_a_test_s_parameters(pytester):
    pytester.makeconftest(
        """
        from tests.support.covering import beyond_covering

        def pytest_collection_modifyitems(items):
            for item in list(beyond_covering(items, 2)):
                item.add_marker("long")
        """
    )
    pytester.makeini("[pytest]\nmarkers =\n    long")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("a", [1.5, object(), pytest.param([], marks=pytest.mark.long)])
        @pytest.mark.parametrize("b", ["x", "y"])
        @pytest.mark.parametrize("c", [None, ()])
        def test_three(a, b, c): ...

        @pytest.mark.parametrize("a", [1, 2])
        def test_one(a): ...

        def test_none(): ...
        """
    )
    short = pytester.runpytest("-m", "not long")
    short.assert_outcomes(passed=4 + 2 + 1, deselected=4 + 4)
    pytester.runpytest().assert_outcomes(passed=12 + 2 + 1)
