"""One test for all that must be true of a thing."""

from collections.abc import Callable, Iterable


def assert_each(properties: Iterable[Callable[..., None]], *arguments) -> None:
    """Calls each with the arguments; what they assert and is not so becomes one AssertionError, by their names."""
    failed = []
    for holds in properties:
        try:
            holds(*arguments)
        except AssertionError as error:
            failed.append(f"{holds.__name__}: {error}")
    if failed:
        raise AssertionError("\n".join(failed))
