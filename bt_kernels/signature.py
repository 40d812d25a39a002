"""One list of options for two functions: it is written out in one, and the other takes on its signature."""

from collections.abc import Callable
from inspect import signature
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def signature_of(written: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """A decorator that gives a function the parameters of written, for type checkers, help() and inspect."""

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        shown: Any = function
        returned = {"return": function.__annotations__["return"]}
        shown.__annotations__ = {**written.__annotations__, **returned}
        shown.__signature__ = signature(written).replace(return_annotation=returned["return"])
        return function

    return decorate
