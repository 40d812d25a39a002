"""What runs the ops of ops.py. Imports Triton."""

from collections.abc import Callable

from torch import Tensor

from bt_kernels.backends.stages import OutputGradients
from bt_kernels.backends.triton import correlation, gram


def present(z: Tensor, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    return tuple(z.new_empty(0) if dz is None else dz for dz in gradients)


def gram_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z, c_diagonal, rstd, y, shifts, k,
    lambd, scale, eps, correction, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    return present(
        z,
        gram.backward(
            gradients,
            z,
            c_diagonal,
            rstd,
            y,
            shifts,
            k,
            lambd,
            scale,
            eps,
            z.shape[0] - (correction or 0),
            correction is None,
            (needs_a, needs_b),
        ),
    )


def correlation_backward(
    grad_loss, grad_on_diagonal, grad_off_diagonal, z, rstd, y, c_diagonal, c, row_squares, column_squares,
    lambd, scale, samples, correction, needs_a, needs_b,
):  # fmt: skip
    gradients = OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal)
    return present(
        z,
        correlation.backward(
            gradients, z, rstd, y, c_diagonal, c, row_squares, column_squares,
            lambd, scale, samples, (samples or z.shape[0]) - (correction or 0), correction is None,
            (needs_a, needs_b),
        ),
    )  # fmt: skip


OPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "gram_forward": gram.forward,
    "gram_partial": gram.partial,
    "gram_total": gram.total,
    "gram_backward": gram_backward,
    "correlation_forward": correlation.forward,
    "correlation_partial": correlation.partial,
    "correlation_total": correlation.total,
    "correlation_backward": correlation_backward,
}
