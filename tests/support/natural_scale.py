"""The natural scale of each output: the size of what is added up to make it. Rounding errors are relative to this.

With y the standardized embeddings in float64:

on_diagonal   sum_i 2 |1 - C_ii| + epsilon: the change of sum (1 - C_ii)^2 when each C_ii, at most 1, moves by one
              epsilon
off_diagonal  |K_a| |K_b| / N^2, Frobenius norms. The Gram formulation has off_diagonal as <K_a, K_b> / N^2
              - sum C_ii^2, and this is what the inner product adds up. It is at least sum_ij C_ij^2, diagonal
              included, and about as large unless the views are uncorrelated
gradient      the norms of the summands that make it, rstd (2 w_off / N) y C^T, rstd y d / N and rstd y q / M; they
              nearly cancel where N is small or the views agree

y itself is known to one rounding of |mean| rstd, the magnitude that is subtracted to make it: that is large for
means far from 0 and for features that barely vary. So each scale also has its change, to first order, when y moves
by that much with random signs.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class NaturalScales(NamedTuple):
    terms: tuple[float, float, float]  # loss, on_diagonal, off_diagonal
    gradients: tuple[float, float]  # L2 norms, for z_a and z_b


class StandardizedView(NamedTuple):
    y: Tensor  # (N, D)
    rstd: Tensor  # (D,)
    offset: Tensor  # (D,) |mean| rstd
    noise: Tensor  # (N, D) the offset with random signs


def natural_scales(z_a: Tensor, z_b: Tensor, formula, epsilon: float) -> NaturalScales:
    """For embeddings (N, D), an accuracy.Formula and the arithmetic's machine epsilon."""
    a, b = (_standardize(z.double(), formula, seed) for seed, z in enumerate((z_a, z_b)))
    moves = 1 + a.offset + b.offset
    distance = (1 - (a.y * b.y).mean(0)).abs()
    on_diagonal = ((2 * distance + epsilon * moves) * moves).sum().item()
    (k_a, change_a), (k_b, change_b) = (_gram_norms(view, epsilon) for view in (a, b))
    off_diagonal = k_a * k_b + change_a * k_b + k_a * change_b + epsilon * change_a * change_b
    loss = abs(formula.scale) * (on_diagonal + formula.lambd * off_diagonal)
    return NaturalScales((loss, on_diagonal, off_diagonal), (_gradient(a, b, formula), _gradient(b, a, formula)))


def _standardize(z: Tensor, formula, seed: int) -> StandardizedView:
    rstd = torch.rsqrt(z.var(0, unbiased=formula.unbiased) + formula.eps)
    offset = z.mean(0).abs() * rstd
    signs = 2.0 * torch.randint(2, z.shape, generator=torch.Generator().manual_seed(seed)) - 1
    return StandardizedView((z - z.mean(0)) * rstd, rstd, offset, offset * signs.to(z.device))


def _gram_norms(view: StandardizedView, epsilon: float) -> tuple[float, float]:
    """|K| / N and how much of it y's noise may change; to second order too, which is all there is where y is 0."""
    n = view.y.shape[0]

    def norm(left: Tensor, right: Tensor) -> float:
        return torch.linalg.matrix_norm(left @ right.T).item() / n

    return norm(view.y, view.y), 2 * norm(view.noise, view.y) + epsilon * norm(view.noise, view.noise)


def _gradient(own: StandardizedView, other: StandardizedView, formula) -> float:
    n = own.y.shape[0]
    from_loss, from_on, from_off = formula.output_gradients
    w_on, w_off = from_on + formula.scale * from_loss, from_off + formula.scale * formula.lambd * from_loss

    def summands(y: Tensor, y_other: Tensor) -> tuple[Tensor, ...]:
        c = y.T @ y_other / n
        c_ii = torch.diagonal(c)
        product = (2 * w_off / n) * (y_other @ c.T)
        diagonal = y_other * (2 * (w_on * (c_ii - 1) - w_off * c_ii) / n)
        q = ((product + diagonal) * y).sum(0) / (n - int(formula.unbiased))
        return tuple(own.rstd * x for x in (product, diagonal, y * q))

    # The directional derivative by a central difference: of a scale, a few digits are enough.
    step = 1e-6 / (1 + max(own.offset.max().item(), other.offset.max().item()))
    ahead, behind = (summands(own.y + h * own.noise, other.y + h * other.noise) for h in (step, -step))
    changes = [(x - y) / (2 * step) for x, y in zip(ahead, behind, strict=True)]
    return sum(torch.linalg.vector_norm(x).item() for x in (*summands(own.y, other.y), *changes))
