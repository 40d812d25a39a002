"""What torch.compile needs to know of the C++ ops: the shapes and dtypes of their outputs, computed without data.

The arithmetic repeats csrc/cpu/bindings.cpp; opcheck compares the two in the tests.
"""

import torch
from torch import Tensor

from bt_kernels.backends.stages import accumulation_dtype


def _terms_and_statistics(z: Tensor) -> list[Tensor]:
    terms = [z.new_empty((), dtype=accumulation_dtype(z.dtype)) for _ in range(3)]
    d = z.shape[1]
    return [*terms, z.new_empty(d, dtype=torch.float64), z.new_empty(4, d, dtype=torch.float64)]


def _gram_forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n = z_a.shape[0]
    size = (n, n) if needs_backward else (0,)
    k_a, k_b = (z_a.new_empty(size, dtype=accumulation_dtype(z_a.dtype)) for _ in range(2))
    return *_terms_and_statistics(z_a), z_a.new_empty(2, dtype=torch.float64), k_a, k_b


def _correlation_forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    keep = needs_backward and n >= d
    sizes = ((d, d), (n, d), (n, d)) if keep else ((0,),) * 3
    kept = [z_a.new_empty(size, dtype=accumulation_dtype(z_a.dtype)) for size in sizes]
    return *_terms_and_statistics(z_a), *kept


def _backward(grad_loss, grad_on_diagonal, grad_off_diagonal, z_a, *saved_and_options):
    needs_a, needs_b = saved_and_options[-2:]
    return (
        z_a.new_empty(z_a.shape if needs_a else (0,)),
        z_a.new_empty(z_a.shape if needs_b else (0,)),
    )


def register() -> None:
    """Registers the shapes; the library that defines the ops must have been loaded."""
    torch.library.register_fake("bt_kernels::gram_forward", _gram_forward)
    torch.library.register_fake("bt_kernels::gram_backward", _backward)
    torch.library.register_fake("bt_kernels::correlation_forward", _correlation_forward)
    torch.library.register_fake("bt_kernels::correlation_backward", _backward)
