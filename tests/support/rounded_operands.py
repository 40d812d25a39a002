"""The loss and its gradients in float64 with the operands of the matrix products rounded, and nothing else.

What is left of its distance to the truth is what 16-bit or tf32 products cost by their nature. The gradients are
written out (docs/mathematics.md), because the operands of the backward are rounded too:

y               before every product; the gradient's other summands and the trace of K are of the same y
C_ii            of y as it was, in the on-diagonal term and in the gradient. Where <K_a, K_b> / N^2 is cleared of
                its diagonal, C_ii is of the y that K is made of
K - shift I     gram: divided by a power of two, then rounded
C_ij, i != j    correlation: rounded for the backward; its sum of squares is taken before
"""

from typing import NamedTuple

import torch
from torch import Tensor

TF32_CUT = 1 << 13  # the bits of float32's mantissa that tf32 lacks


class View(NamedTuple):
    y: Tensor  # (N, D)
    rounded: Tensor  # (N, D)
    rstd: Tensor  # (D,)


def rounded(x: Tensor, dtype: torch.dtype, tf32: bool) -> Tensor:
    if not tf32:
        return x.to(dtype).double()
    bits = x.float().view(torch.int32) + TF32_CUT // 2  # to nearest
    return (bits & -TF32_CUT).view(torch.float32).double()


def rounded_operands_loss(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    formula,  # accuracy.Formula
    formulation: str,
    tf32: bool,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """(loss, on_diagonal, off_diagonal) and the gradients for z_a and z_b, float64.

    Nothing is rounded for float32 without tf32.
    """

    def as_operand(x: Tensor) -> Tensor:
        return rounded(x, z_a.dtype, tf32) if tf32 or z_a.dtype.itemsize == 2 else x

    def standardized(z: Tensor) -> View:
        z = z.double()
        rstd = torch.rsqrt(z.var(0, unbiased=formula.unbiased) + formula.eps)
        y = (z - z.mean(0)) * rstd
        return View(y, as_operand(y), rstd)

    form = gram if formulation == "gram" else correlation
    a, b = standardized(z_a), standardized(z_b)
    c_ii = (a.y * b.y).mean(0)
    on_diagonal = ((1 - c_ii) ** 2).sum()
    off_diagonal, *gradients = form(a, b, c_ii, formula, as_operand)
    loss = formula.scale * (on_diagonal + formula.lambd * off_diagonal)
    return (loss, on_diagonal, off_diagonal), tuple(gradients)


def weights(formula) -> tuple[float, float]:
    """w_on and w_off."""
    from_loss, from_on, from_off = formula.output_gradients
    return formula.scale * from_loss + from_on, formula.scale * formula.lambd * from_loss + from_off


def gram(a: View, b: View, c_ii: Tensor, formula, as_operand) -> tuple[Tensor, Tensor, Tensor]:
    n = len(a.y)
    w_on, w_off = weights(formula)
    k_a, k_b = (view.rounded @ view.rounded.T for view in (a, b))
    diagonal = (a.rounded * b.rounded).mean(0)
    off_diagonal = ((k_a * k_b).sum() / n**2 - (diagonal**2).sum()).clamp(min=0)
    d = 2 * (w_on * (c_ii - 1) - w_off * c_ii)

    def gradient(own: View, other: View, k_other: Tensor) -> Tensor:
        shift = k_other.trace() / n
        unit = 2 ** shift.clamp(min=2.0**-100).log2().floor()  # shift is 0 where no feature varies
        k = unit * as_operand((k_other - shift * torch.eye(n, dtype=k_other.dtype, device=k_other.device)) / unit)
        alpha = 2 * w_off / n**2
        product = alpha * (k @ own.rounded)
        q = (product * own.rounded).sum(0) + d * c_ii
        taken_out = q / (n - int(formula.unbiased)) - alpha * shift * formula.eps * own.rstd**2
        return own.rstd * (product + other.rounded * d / n - own.rounded * taken_out)

    return off_diagonal, gradient(a, b, k_b), gradient(b, a, k_a)


def correlation(a: View, b: View, c_ii: Tensor, formula, as_operand) -> tuple[Tensor, Tensor, Tensor]:
    n = len(a.y)
    w_on, w_off = weights(formula)
    c = a.rounded.T @ b.rounded / n
    c = c - torch.diag(torch.diagonal(c))
    on_diagonal = 2 * w_on * (c_ii - 1)

    def gradient(own: View, other: View, c: Tensor) -> Tensor:
        q = 2 * w_off * (c**2).sum(1) + on_diagonal * c_ii
        dy = (2 * w_off / n) * (other.rounded @ as_operand(c).T) + other.rounded * on_diagonal / n
        return own.rstd * (dy - own.rounded * q / (n - int(formula.unbiased)))

    return (c**2).sum(), gradient(a, b, c), gradient(b, a, c.T)
