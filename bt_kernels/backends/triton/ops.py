"""The Triton forwards and backwards as torch ops: opaque to torch.compile, with shapes it can compute without data.

An output that was not asked for is (0,): an op returns what its schema says.
"""

import torch
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients
from bt_kernels.backends.triton import correlation, gram
from bt_kernels.backends.triton.correlation import product_tile
from bt_kernels.backends.triton.launch import operands, padded

OPTIONS = "float lambd, float scale, float eps, bool unbiased"
GRADIENTS = "Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal"
LIBRARY = torch.library.Library("bt_kernels_triton", "DEF")


def outputs(count: int) -> str:
    return f"({', '.join(['Tensor'] * count)})"


def present(z: Tensor, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    return tuple(z.new_empty(0) if dz is None else dz for dz in gradients)


def gram_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z, c_diagonal, rstd, shifts, y, k,
    lambd, scale, eps, unbiased, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    return present(
        z,
        gram.backward(
            gradients, z, c_diagonal, rstd, shifts, y, k, lambd, scale, eps, unbiased, (needs_a, needs_b)
        ),
    )


def correlation_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z, c_diagonal, rstd, y, c, row_squares, column_squares,
    lambd, scale, unbiased, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    return present(
        z,
        correlation.backward(
            gradients, z, c_diagonal, rstd, y, c, row_squares, column_squares,
            lambd, scale, unbiased, (needs_a, needs_b),
        ),
    )  # fmt: skip


def terms_shape(z: Tensor) -> list[Tensor]:
    """loss, on_diagonal, off_diagonal, c_diagonal, rstd."""
    return [z.new_empty(size, dtype=torch.float32) for size in ((), (), (), (z.shape[1],), (2, z.shape[1]))]


def gram_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    y, k = ((2, n, padded(d)), (2, n, padded(n))) if needs_backward else ((0,), (0,))
    return *terms_shape(z_a), z_a.new_empty(2, dtype=torch.float32), z_a.new_empty(y), z_a.new_empty(k)


def correlation_forward_shape(z_a, z_b, lambd, scale, eps, unbiased, needs_backward):
    n, d = z_a.shape
    y = z_a.new_empty((2, n, padded(d)) if needs_backward else (0,))
    if not (needs_backward and n >= d):
        return *terms_shape(z_a), y, *(z_a.new_empty(0) for _ in range(3))
    tile = product_tile(operands(z_a.dtype), n, z_a.device)
    squares = [z_a.new_empty(-(-d // size), d, dtype=torch.float32) for size in (tile.n, tile.m)]
    return *terms_shape(z_a), y, z_a.new_empty(d, padded(d)), *squares


def backward_shape(grad_loss, grad_on_diagonal, grad_off_diagonal, z, *saved_and_options):
    return tuple(z.new_empty(z.shape if need else (0,)) for need in saved_and_options[-2:])


def register(name: str, schema: str, launch, shapes) -> None:
    LIBRARY.define(f"{name}{schema}")
    LIBRARY.impl(name, launch, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{LIBRARY.ns}::{name}", shapes, lib=LIBRARY)


FORWARD = f"(Tensor z_a, Tensor z_b, {OPTIONS}, bool needs_backward) -> "
register("gram_forward", FORWARD + outputs(8), gram.forward, gram_forward_shape)
register("correlation_forward", FORWARD + outputs(9), correlation.forward, correlation_forward_shape)
register(
    "gram_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor shifts, Tensor y, Tensor k, "
    f"{OPTIONS}, bool needs_a, bool needs_b) -> {outputs(2)}",
    gram_backward,
    backward_shape,
)
register(
    "correlation_backward",
    f"({GRADIENTS}, Tensor z, Tensor c_diagonal, Tensor rstd, Tensor y, Tensor c, Tensor row_squares, "
    "Tensor column_squares, float lambd, float scale, bool unbiased, bool needs_a, bool needs_b) -> "
    f"{outputs(2)}",
    correlation_backward,
    backward_shape,
)
