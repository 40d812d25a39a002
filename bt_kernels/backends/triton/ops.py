"""The Triton forwards and backwards as torch ops: opaque to torch.compile, with shapes that need no data.

An output that was not asked for is (0,): an op returns what its schema says. Triton is not imported here, but when
an op first runs.
"""

import torch
from torch import Tensor

from bt_kernels.backends import torch_ops
from bt_kernels.backends.triton.launch import operands, padded, product_tile

OPTIONS = "float lambd, float scale, float eps, bool unbiased"
GRADIENTS = "Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal"
NAMESPACE = "bt_kernels_triton"


def outputs(count: int) -> str:
    return f"({', '.join(['Tensor'] * count)})"


def float32(like: Tensor, *sizes: tuple[int, ...]) -> list[Tensor]:
    return [like.new_empty(size, dtype=torch.float32) for size in sizes]


def terms_shape(like: Tensor) -> list[Tensor]:
    return float32(like, (), (), ())


def y_shape(z: Tensor, needs_backward: bool) -> Tensor:
    return z.new_empty((2, z.shape[0], padded(z.shape[1])) if needs_backward else (0,))


def k_shape(like: Tensor, n: int, dtype: torch.dtype, needs_backward: bool) -> Tensor:
    return like.new_empty((2, n, padded(n)) if needs_backward else (0,), dtype=dtype)


def c_shape(like: Tensor, n: int, d: int, dtype: torch.dtype, keep: bool) -> list[Tensor]:
    """c, row_squares, column_squares."""
    if not keep:
        return [like.new_empty(0, dtype=dtype) for _ in range(3)]
    tile = product_tile(operands(dtype), n, like.device)
    squares = float32(like, *((-(-d // size), d) for size in (tile.n, tile.m)))
    return [like.new_empty(d, padded(d), dtype=dtype), *squares]


def gram_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    of_features = *float32(z_a, (d,), (2, d)), y_shape(z_a, needs_backward)
    return *terms_shape(z_a), *of_features, *float32(z_a, (2,)), k_shape(z_a, n, z_a.dtype, needs_backward)


def gram_partial_shape(z_a, z_b, eps, unbiased, mean, rstd, needs_backward):
    n, d = z_a.shape
    (triangles,) = float32(z_a, (2, n * (n + 1) // 2))
    totals = z_a.new_empty(4, dtype=torch.float64)
    return triangles, totals, *float32(z_a, (d,), (2, d)), y_shape(z_a, needs_backward)


def gram_total_shape(triangles, sums, n, dtype, lambd, scale, needs_backward):
    return *terms_shape(sums), *float32(sums, (2,)), k_shape(sums, n, dtype, needs_backward)


def correlation_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    of_rows = *float32(z_a, (2, d)), y_shape(z_a, needs_backward)
    kept = c_shape(z_a, n, d, z_a.dtype, needs_backward and n >= d)
    return *terms_shape(z_a), *of_rows, *float32(z_a, (d,)), *kept


def correlation_partial_shape(z_a, z_b, mean, rstd, samples, needs_backward):
    d = z_a.shape[1]
    return *float32(z_a, (d, d), (2, d)), y_shape(z_a, needs_backward)


def correlation_total_shape(c, n, dtype, lambd, scale, needs_backward):
    d = c.shape[0]
    return *terms_shape(c), *float32(c, (d,)), *c_shape(c, n, d, dtype, needs_backward)


def backward_shape(grad_loss, grad_on_diagonal, grad_off_diagonal, z, *saved_and_options):
    return tuple(z.new_empty(z.shape if need else (0,)) for need in saved_and_options[-2:])


def register(name: str, schema: str, shapes) -> None:
    def run(*arguments):
        from bt_kernels.backends.triton import implementation

        return implementation.OPS[name](*arguments)

    torch_ops.define(f"{NAMESPACE}::{name}", schema, shapes, run)


FORWARD = f"(Tensor z_a, Tensor z_b, {OPTIONS}, bool needs_backward) -> "
register("gram_forward", FORWARD + outputs(8), gram_forward_shape)
register("correlation_forward", FORWARD + outputs(9), correlation_forward_shape)
register(
    "gram_partial",
    "(Tensor z_a, Tensor z_b, float eps, bool unbiased, Tensor? mean, Tensor? rstd, bool needs_backward) -> "
    f"{outputs(5)}",
    gram_partial_shape,
)
register(
    "gram_total",
    "(Tensor triangles, Tensor sums, SymInt n, ScalarType dtype, float lambd, float scale, bool needs_backward) "
    f"-> {outputs(5)}",
    gram_total_shape,
)
register(
    "correlation_partial",
    f"(Tensor z_a, Tensor z_b, Tensor mean, Tensor rstd, SymInt samples, bool needs_backward) -> {outputs(3)}",
    correlation_partial_shape,
)
register(
    "correlation_total",
    f"(Tensor c, SymInt n, ScalarType dtype, float lambd, float scale, bool needs_backward) -> {outputs(7)}",
    correlation_total_shape,
)
register(
    "gram_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor y, Tensor shifts, Tensor k, "
    f"float lambd, float scale, float eps, int? correction, bool needs_a, bool needs_b) -> {outputs(2)}",
    backward_shape,
)
register(
    "correlation_backward",
    f"({GRADIENTS}, Tensor z, Tensor rstd, Tensor y, Tensor c_diagonal, Tensor c, Tensor row_squares, "
    "Tensor column_squares, float lambd, float scale, SymInt? samples, int? correction, bool needs_a, "
    f"bool needs_b) -> {outputs(2)}",
    backward_shape,
)
