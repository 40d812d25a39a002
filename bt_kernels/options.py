"""The loss's options: one frozen dataclass, validated once, passed along unchanged."""

import sys
from dataclasses import dataclass, fields
from numbers import Real

FORMULATIONS = ("auto", "correlation", "gram")
BACKENDS = ("auto", "cuda", "triton", "cpu", "eager")
EPS_ADDED_TO = ("variance", "std")


@dataclass(frozen=True)
class LossOptions:
    """What the loss computes (lambd, scale, eps, unbiased, eps_added_to) and how (formulation, backend).

    Raises TypeError for a value of the wrong type, ValueError for one out of range.
    """

    lambd: float = 0.0051  # weight of the redundancy-reduction term, eq. 1 of the paper
    scale: float = 1.0  # multiplies the whole loss
    eps: float = 1e-5  # added to the variance, inside the square root, or to the root
    unbiased: bool = False  # variance divided by N - 1 instead of N
    formulation: str = "auto"
    backend: str = "auto"
    eps_added_to: str = "variance"  # or "std"

    def __post_init__(self) -> None:
        for name in ("lambd", "scale", "eps"):
            value = getattr(self, name)
            # A float is seen to be one before Real is asked: an abstract class takes longer to answer.
            if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
                raise TypeError(f"{name} must be a real number, got {type(value).__name__}: {value!r}")
            # False for NaN. Not math.isfinite: under torch.compile a float that varies between calls is symbolic.
            if not abs(value) <= sys.float_info.max:  # type: ignore[operator]  # typeshed: no order
                shown = value if isinstance(value, float) else "a number beyond the range of a float"
                raise ValueError(f"{name} must be finite, got {shown}")
            object.__setattr__(self, name, float(value))
        for name in ("lambd", "eps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not isinstance(self.unbiased, bool):
            raise TypeError(f"unbiased must be True or False, got {self.unbiased!r}")
        choices = (("formulation", FORMULATIONS), ("backend", BACKENDS), ("eps_added_to", EPS_ADDED_TO))
        for name, known in choices:
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, got {type(value).__name__}: {value!r}")
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")

    def __str__(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
