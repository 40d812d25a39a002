"""The CUDA ops as torch sees them: their schemas, and their outputs' shapes without data for torch.compile.

csrc/cuda/bindings.cpp implements them for CUDA and, as the tests compile it, for the CPU. The schemas are here
rather than there so that both libraries can be loaded in one process. An output that was not asked for is (0,): an
op returns what its schema says. mean and given_rstd are (2, D) float64, together or not at all.
"""

import torch
from torch import Tensor

from bt_kernels.backends import torch_ops

ROW_MULTIPLE = 64  # row_stride of csrc/cuda/loss.h
SQUARES_SHARE = 64  # kSquaresShare there

GRADIENTS = "Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal"
FORWARD = (
    "(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased, bool tf32, bool needs_backward)"
)
TERMS = "Tensor loss, Tensor on_diagonal, Tensor off_diagonal"
BACKWARD = "bool tf32, bool needs_a, bool needs_b) -> (Tensor dz_a, Tensor dz_b)"
NAMESPACE = "bt_kernels_cuda"


def padded(size: int, multiple: int = ROW_MULTIPLE) -> int:
    return -(-size // multiple) * multiple


def float32(like: Tensor, *sizes: tuple[int, ...]) -> list[Tensor]:
    return [like.new_empty(size, dtype=torch.float32) for size in sizes]


def terms_shape(like: Tensor) -> list[Tensor]:
    return float32(like, (), (), ())


def y_shape(z: Tensor, needs_backward: bool) -> Tensor:
    return z.new_empty((2, z.shape[0], padded(z.shape[1])) if needs_backward else (0,))


def k_shape(like: Tensor, n: int, dtype: torch.dtype, needs_backward: bool) -> list[Tensor]:
    """shifts, k."""
    k = like.new_empty((2, n, padded(n)) if needs_backward else (0,), dtype=dtype)
    return [*float32(like, (2,) if needs_backward else (0,)), k]


def c_shape(like: Tensor, d: int, dtype: torch.dtype, keep: bool) -> list[Tensor]:
    """c_diagonal, c, row_squares, column_squares."""
    c, squares = ((d, padded(d)), (-(-d // SQUARES_SHARE), d)) if keep else ((0,), (0,))
    return [*float32(like, (d,)), like.new_empty(c, dtype=dtype), *float32(like, squares, squares)]


def gram_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    n, d = z_a.shape
    of_features = *float32(z_a, (d,), (2, d)), y_shape(z_a, needs_backward)
    return *terms_shape(z_a), *of_features, *k_shape(z_a, n, z_a.dtype, needs_backward)


def gram_partial_shape(z_a, z_b, eps, unbiased, mean, given_rstd, tf32, needs_backward):
    n, d = z_a.shape
    sums = *float32(z_a, (2, n * (n + 1) // 2)), z_a.new_empty(4, dtype=torch.float64)
    return *sums, *float32(z_a, (d,), (2, d)), y_shape(z_a, needs_backward)


def gram_total_shape(triangles, sums, n, dtype, lambd, scale, tf32, needs_backward):
    return *terms_shape(sums), *k_shape(sums, n, dtype, needs_backward)


def correlation_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    n, d = z_a.shape
    of_rows = *float32(z_a, (2, d)), y_shape(z_a, needs_backward)
    return *terms_shape(z_a), *of_rows, *c_shape(z_a, d, z_a.dtype, needs_backward and n >= d)


def correlation_partial_shape(z_a, z_b, mean, given_rstd, samples, tf32, needs_backward):
    d = z_a.shape[1]
    return *float32(z_a, (d, d), (2, d)), y_shape(z_a, needs_backward)


def correlation_total_shape(whole, dtype, lambd, scale, tf32, needs_backward):
    return *terms_shape(whole), *c_shape(whole, whole.shape[0], dtype, needs_backward)


def backward_shape(grad_loss, grad_on_diagonal, grad_off_diagonal, z, *saved_and_options):
    return tuple(z.new_empty(z.shape if need else (0,)) for need in saved_and_options[-2:])


def register(name: str, schema: str, shapes) -> None:
    torch_ops.define(f"{NAMESPACE}::{name}", schema, shapes)


register(
    "gram_forward",
    f"{FORWARD} -> ({TERMS}, Tensor c_diagonal, Tensor rstd, Tensor y, Tensor shifts, Tensor k)",
    gram_forward_shape,
)
register(
    "gram_partial",
    "(Tensor z_a, Tensor z_b, float eps, bool unbiased, Tensor? mean, Tensor? given_rstd, bool tf32, "
    "bool needs_backward) -> (Tensor triangles, Tensor sums, Tensor c_diagonal, Tensor rstd, Tensor y)",
    gram_partial_shape,
)
register(
    "gram_total",
    "(Tensor triangles, Tensor sums, int n, ScalarType dtype, float lambd, float scale, bool tf32, "
    f"bool needs_backward) -> ({TERMS}, Tensor shifts, Tensor k)",
    gram_total_shape,
)
register(
    "gram_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor y, Tensor shifts, Tensor k, "
    f"float lambd, float scale, float eps, int? correction, {BACKWARD}",
    backward_shape,
)
register(
    "correlation_forward",
    f"{FORWARD} -> ({TERMS}, Tensor rstd, Tensor y, Tensor c_diagonal, Tensor c, Tensor row_squares, "
    "Tensor column_squares)",
    correlation_forward_shape,
)
register(
    "correlation_partial",
    "(Tensor z_a, Tensor z_b, Tensor mean, Tensor given_rstd, int samples, bool tf32, bool needs_backward)"
    " -> (Tensor c, Tensor rstd, Tensor y)",
    correlation_partial_shape,
)
register(
    "correlation_total",
    "(Tensor whole, ScalarType dtype, float lambd, float scale, bool tf32, bool needs_backward)"
    f" -> ({TERMS}, Tensor c_diagonal, Tensor c, Tensor row_squares, Tensor column_squares)",
    correlation_total_shape,
)
register(
    "correlation_backward",
    f"({GRADIENTS}, Tensor z, Tensor rstd, Tensor y, Tensor c_diagonal, Tensor c, Tensor row_squares, "
    f"Tensor column_squares, float lambd, float scale, int? samples, int? correction, {BACKWARD}",
    backward_shape,
)
