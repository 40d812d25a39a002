"""A few of many combinations of parameters: each value, or every two values of two parameters, is in one of them.

The field calls them covering arrays of strength 1 and 2, the latter also pairwise.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import pytest


def covering(all_of_them: Iterable[Mapping[str, int]], strength: int) -> list[int]:
    """Which of the combinations to take, by their places: what one of all has together, of as many values as the
    strength says, one of these has together.

    Each maps the parameters' names to their values, or to the numbers of these. Of no more parameters than the
    strength all are taken. Always the same ones: the one with the most that is new next, of several the first.
    """
    missing = {
        place: set(combinations(sorted(values.items()), min(strength, len(values))))
        for place, values in enumerate(all_of_them)
    }
    taken = []
    while any(missing.values()):
        place = max(missing, key=lambda place: len(missing[place]))
        met = missing.pop(place)
        taken.append(place)
        missing = {other: values - met for other, values in missing.items()}
    return sorted(taken)


def beyond_covering(items: Iterable[pytest.Item], strength: int) -> Iterator[pytest.Item]:
    """The tests whose parameters' values are covered by others of the same function."""
    functions = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and not item.get_closest_marker("long"):
            functions[item.path, item.originalname].append(item)
    for tests in functions.values():
        # A value is one object in all of a function's tests, and need not have an order or a hash.
        values = ({name: id(value) for name, value in test.callspec.params.items()} for test in tests)
        taken = covering(values, strength)
        yield from (test for place, test in enumerate(tests) if place not in taken)
