"""What runs the ops of bt_kernels/backends/ops.py, by their arguments. Imports Triton."""

from collections.abc import Callable
from typing import Any

from bt_kernels.backends.stages import OutputGradients, variance_divisor
from bt_kernels.backends.triton import correlation, gram


def kept(needs_backward, shifts):
    return shifts if needs_backward else shifts.new_empty(0)


def gram_forward(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    *outputs, shifts, k = gram.forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward)
    return *outputs, kept(needs_backward, shifts), k


def gram_partial(z_a, z_b, given_statistics, eps, unbiased, tf32, needs_backward):
    mean, _, rstd = (None, None, None) if given_statistics is None else given_statistics
    return gram.partial(z_a, z_b, eps, unbiased, mean, rstd, needs_backward)


def gram_total(triangles, sums, n, dtype, lambd, scale, tf32, needs_backward):
    *terms, shifts, k = gram.total(triangles, sums, n, dtype, lambd, scale, needs_backward)
    return *terms, kept(needs_backward, shifts), k


def gram_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z_a, z_b, c_diagonal, statistics, y, shifts, k,
    lambd, scale, eps, unbiased, standardized, tf32, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    divisor = variance_divisor(z_a.shape[0], unbiased)
    return gram.backward(
        gradients, z_a, c_diagonal, statistics, y, shifts, k,
        lambd, scale, eps, divisor, standardized, (needs_a, needs_b),
    )  # fmt: skip


def correlation_forward(z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    return correlation.forward(z_a, z_b, lambd, scale, eps, unbiased, needs_backward)


def correlation_partial(z_a, z_b, given_statistics, samples, tf32, needs_backward):
    mean, _, rstd = given_statistics
    return correlation.partial(z_a, z_b, mean, rstd, samples, needs_backward)


def correlation_total(c, n, dtype, lambd, scale, tf32, needs_backward):
    return correlation.total(c, n, dtype, lambd, scale, needs_backward)


def correlation_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z_a, z_b, statistics, y, c_diagonal, c_off_diagonal,
    row_squares, column_squares, lambd, scale, samples, unbiased, standardized, tf32, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    divisor = variance_divisor(z_a.shape[0] if samples is None else samples, unbiased)
    return correlation.backward(
        gradients, z_a, statistics, y, c_diagonal, c_off_diagonal, row_squares, column_squares,
        lambd, scale, samples, divisor, standardized, (needs_a, needs_b),
    )  # fmt: skip


OPS: dict[str, Callable[..., Any]] = {
    "gram_forward": gram_forward,
    "gram_partial": gram_partial,
    "gram_total": gram_total,
    "gram_backward": gram_backward,
    "correlation_forward": correlation_forward,
    "correlation_partial": correlation_partial,
    "correlation_total": correlation_total,
    "correlation_backward": correlation_backward,
}
