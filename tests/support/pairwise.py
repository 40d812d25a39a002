"""A few of many combinations of parameters: every two values of two parameters still meet."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import pytest


def pairwise(all_of_them: Iterable[Mapping[str, int]]) -> list[int]:
    """Which of the combinations to take, by their places: every two values that one of them has one of these has.

    Each maps the parameters' names to their values, or to the numbers of these. Of one or two parameters all are
    taken. Always the same ones: the one with the most new pairs next, of several the first.
    """
    missing = {
        place: set(combinations(sorted(values.items()), min(2, len(values))))
        for place, values in enumerate(all_of_them)
    }
    taken = []
    while any(missing.values()):
        place = max(missing, key=lambda place: len(missing[place]))
        met = missing.pop(place)
        taken.append(place)
        missing = {other: pairs - met for other, pairs in missing.items()}
    return sorted(taken)


def beyond_pairs(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests whose parameters' values all meet, two and two, in others of the same function."""
    functions = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and not any(map(item.get_closest_marker, ("long", "all_combinations"))):
            functions[item.path, item.originalname].append(item)
    for tests in functions.values():
        # A value is one object in all of a function's tests, and need not have an order or a hash.
        taken = pairwise({name: id(value) for name, value in test.callspec.params.items()} for test in tests)
        yield from (test for place, test in enumerate(tests) if place not in taken)
