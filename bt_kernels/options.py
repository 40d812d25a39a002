"""The loss's options: one frozen dataclass, validated once, passed along unchanged."""

import contextlib
import sys
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from bt_kernels.embeddings import check_dense

FORMULATIONS = ("auto", "correlation", "gram")
BACKENDS = ("auto", "cuda", "triton", "cpu", "eager")
EPS_ADDED_TO = ("variance", "std")
LARGEST = sys.float_info.max  # here, because Dynamo of torch 2.6 cannot look into float_info
INTEGERS = (
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
)


def checked_number(name: str, value: Any) -> float:
    # A float is seen to be one before Real is asked: an abstract class takes longer to answer.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}: {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be finite, got a number beyond the range of a float") from None
    # False for NaN. Not math.isfinite: under torch.compile a float that varies between calls is symbolic.
    if not abs(number) <= LARGEST:
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def checked_weight(name: str, value: Any) -> float | Tensor:
    if not isinstance(value, (Real, Tensor)) and hasattr(value, "__array__"):
        with contextlib.suppress(TypeError):  # of text, say, which is no number either
            value = torch.as_tensor(value)  # NumPy's 0-d arrays; within torch.compile its numbers are such arrays
    if not isinstance(value, Tensor):
        return checked_number(name, value)
    check_tensor(name, value)
    return value


def check_tensor(name: str, value: Tensor) -> None:
    """Its number is not read."""
    check_dense(name, value)
    if not value.dtype.is_floating_point and value.dtype not in INTEGERS:
        raise TypeError(f"{name} must be a real number, got a tensor of {value.dtype}")
    if value.dim() != 0:
        raise ValueError(f"{name} must be a number or a 0-d tensor, got shape {tuple(value.shape)}")


@dataclass(frozen=True)
class LossOptions:
    """What the loss computes (lambd, scale, eps, unbiased, eps_added_to) and how (formulation, backend).

    lambd and scale may be 0-d tensors, whose numbers nothing here reads but a comparison of two LossOptions.

    Raises TypeError for a value of the wrong type, ValueError for one out of range.
    """

    # Equal options have equal hashes; equal tensors do not.
    lambd: float | Tensor = field(default=0.0051, hash=False)  # weight of the redundancy reduction, eq. 1
    scale: float | Tensor = field(default=1.0, hash=False)  # multiplies the whole loss
    eps: float = 1e-5  # added to the variance, inside the square root, or to the root
    unbiased: bool = False  # variance divided by N - 1 instead of N
    formulation: str = "auto"
    backend: str = "auto"
    eps_added_to: str = "variance"  # or "std"

    def __post_init__(self) -> None:
        for name in ("lambd", "scale"):
            object.__setattr__(self, name, checked_weight(name, getattr(self, name)))
        object.__setattr__(self, "eps", checked_number("eps", self.eps))
        for name in ("lambd", "eps"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and value < 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        if not isinstance(self.unbiased, bool):
            raise TypeError(f"unbiased must be True or False, got {self.unbiased!r}")
        choices = (("formulation", FORMULATIONS), ("backend", BACKENDS), ("eps_added_to", EPS_ADDED_TO))
        for name, known in choices:
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, got {type(value).__name__}: {value!r}")
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")

    def changed(self) -> dict[str, str]:
        """lambd, and what differs from the defaults, as it is shown. A tensor's number does not decide."""
        values = ((field, getattr(self, field.name)) for field in fields(self))
        return {
            field.name: repr(value)
            for field, value in values
            if field.name == "lambd" or isinstance(value, Tensor) or value != field.default
        }

    def __str__(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
