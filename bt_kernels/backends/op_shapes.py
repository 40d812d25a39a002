"""What torch.compile needs to know of the C++ ops: the shapes and dtypes of their outputs, computed without data.

The arithmetic repeats csrc/cpu/*_bindings.cpp; opcheck compares the two in the tests.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bt_kernels.backends import torch_ops
from bt_kernels.backends.stages import accumulation_dtype


def _accumulated(z: Tensor, *size: int) -> Tensor:
    return z.new_empty(size, dtype=accumulation_dtype(z.dtype))


def _doubles(z: Tensor, *size: int) -> Tensor:
    return z.new_empty(size, dtype=torch.float64)


def _terms(z: Tensor) -> list[Tensor]:
    return [_accumulated(z) for _ in range(3)]


def _gram_matrices(z: Tensor, n: int, needs_backward: bool) -> list[Tensor]:
    return [_accumulated(z, n, n) if needs_backward else _accumulated(z, 0) for _ in range(2)]


def _gram_forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    residuals = _doubles(z_a, d), _doubles(z_a, 6, d), _doubles(z_a, 2)
    return *_terms(z_a), *residuals, *_gram_matrices(z_a, n, needs_backward)


def _gram_partial(z_a, z_b, given_statistics, eps, unbiased):
    n, d = z_a.shape
    return _accumulated(z_a, 2, n * (n + 1) // 2), _doubles(z_a, 4), _doubles(z_a, d), _doubles(z_a, 6, d)


def _gram_total(triangles, sums, n, lambd, scale, needs_backward):
    return *_terms(triangles), *_gram_matrices(triangles, n, needs_backward)


def _correlation_forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    keep = needs_backward and n >= d
    c, y_a, y_b = (_accumulated(z_a, rows, d) if keep else _accumulated(z_a, 0) for rows in (d, n, n))
    return *_terms(z_a), _doubles(z_a, 6, d), y_a, y_b, _doubles(z_a, d), c


def _correlation_partial(z_a, z_b, statistics, samples, needs_backward):
    rows, d = z_a.shape
    y_a, y_b = (_accumulated(z_a, rows, d) if needs_backward else _accumulated(z_a, 0) for _ in range(2))
    return _accumulated(z_a, d, d), y_a, y_b


def _correlation_total(c, lambd, scale):
    return *_terms(c), _doubles(c, c.shape[0])


def _backward(grad_loss, grad_on_diagonal, grad_off_diagonal, z_a, *saved_and_options):
    needs_a, needs_b = saved_and_options[-2:]
    return (
        z_a.new_empty(z_a.shape if needs_a else (0,)),
        z_a.new_empty(z_a.shape if needs_b else (0,)),
    )


SHAPES: dict[str, Callable[..., Any]] = {
    "gram_forward": _gram_forward,
    "gram_partial": _gram_partial,
    "gram_total": _gram_total,
    "gram_backward": _backward,
    "correlation_forward": _correlation_forward,
    "correlation_partial": _correlation_partial,
    "correlation_total": _correlation_total,
    "correlation_backward": _backward,
}


def register() -> None:
    """Registers the shapes; the library that defines the ops must have been loaded."""
    for name, shapes in SHAPES.items():
        torch_ops.register_shapes(f"bt_kernels::{name}", shapes)
