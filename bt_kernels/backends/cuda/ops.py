"""The CUDA ops as torch sees them: their schemas, and their outputs' shapes without data for torch.compile.

csrc/cuda/bindings.cpp implements them for CUDA and, as the tests compile it, for the CPU. The schemas are here rather
than there so that both libraries can be loaded in one process. An output that was not asked for is (0,): an op returns
what its schema says.
"""

import torch
from torch import Tensor

ROW_MULTIPLE = 64  # row_stride of csrc/cuda/loss.h
SQUARES_SHARE = 64  # kSquaresShare there

GRADIENTS = "Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal"
FORWARD = (
    "(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased, bool tf32, bool needs_backward)"
    " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal, Tensor c_diagonal, Tensor rstd"
)
BACKWARD = "bool unbiased, bool tf32, bool needs_a, bool needs_b) -> (Tensor dz_a, Tensor dz_b)"
LIBRARY = torch.library.Library("bt_kernels_cuda", "DEF")


def padded(size: int, multiple: int = ROW_MULTIPLE) -> int:
    return -(-size // multiple) * multiple


def terms_shape(z: Tensor) -> list[Tensor]:
    """loss, on_diagonal, off_diagonal, c_diagonal, rstd."""
    return [z.new_empty(size, dtype=torch.float32) for size in ((), (), (), (z.shape[1],), (2, z.shape[1]))]


def gram_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    n, d = z_a.shape
    y, k = ((2, n, padded(d)), (2, n, padded(n))) if needs_backward else ((0,), (0,))
    return *terms_shape(z_a), z_a.new_empty(2, dtype=torch.float32), z_a.new_empty(y), z_a.new_empty(k)


def correlation_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    n, d = z_a.shape
    y = z_a.new_empty((2, n, padded(d)) if needs_backward else (0,))
    keep = needs_backward and n >= d
    c, squares = ((d, padded(d)), (-(-d // SQUARES_SHARE), d)) if keep else ((0,), (0,))
    kept = z_a.new_empty(c), *(z_a.new_empty(squares, dtype=torch.float32) for _ in range(2))
    return *terms_shape(z_a), y, *kept


def backward_shape(grad_loss, grad_on_diagonal, grad_off_diagonal, z, *saved_and_options):
    return tuple(z.new_empty(z.shape if need else (0,)) for need in saved_and_options[-2:])


def register(name: str, schema: str, shapes) -> None:
    LIBRARY.define(f"{name}{schema}")
    torch.library.register_fake(f"{LIBRARY.ns}::{name}", shapes, lib=LIBRARY)


register("gram_forward", FORWARD + ", Tensor shifts, Tensor y, Tensor k)", gram_forward_shape)
register(
    "correlation_forward",
    FORWARD + ", Tensor y, Tensor c, Tensor row_squares, Tensor column_squares)",
    correlation_forward_shape,
)
register(
    "gram_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor shifts, Tensor y, Tensor k, "
    f"float lambd, float scale, float eps, {BACKWARD}",
    backward_shape,
)
register(
    "correlation_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor y, Tensor c, Tensor row_squares, "
    f"Tensor column_squares, float lambd, float scale, {BACKWARD}",
    backward_shape,
)
