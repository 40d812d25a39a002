"""The gate before the clock: every candidate's loss and gradient against float64.

The truth is bt_kernels.reference in float64. Where its D x D matrices get too large, it is the Gram formulation in
float64, by blocks of columns and with the gradient written out; check_truth compares the two in every run. What
"standardized" means is part of the question: MONAI's definition has a truth of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.shared.baselines import EPS, LAMBD, MONAI_EPS
from bt_kernels.reference import reference_loss

REFERENCE_MAX_D = 2048
BLOCK = 4096  # columns at a time
# On |loss - truth| / truth and on the gradient's relative L2 error: what the operands' dtype leaves of a right
# formula.
# tf32 has float16's digits.
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "tf32": 5e-3, "bfloat16": 3e-2, "float16": 5e-3}


class Definition(NamedTuple):
    """y = (z - mean) / sqrt(var + eps), or / (sqrt(var) + eps)."""

    eps: float
    eps_on_std: bool
    unbiased: bool

    def standardize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (N, D) float64
        """y, 1 / (what z - mean is divided by), and in sum_n y^2 = share * (N or N - 1) the share."""
        variance, mean = torch.var_mean(z, dim=0, correction=int(self.unbiased))
        rstd = 1 / (variance.sqrt() + self.eps) if self.eps_on_std else torch.rsqrt(variance + self.eps)
        return (z - mean) * rstd, rstd, variance * rstd**2


AUTHORS = Definition(EPS, eps_on_std=False, unbiased=False)
MONAI = Definition(MONAI_EPS, eps_on_std=True, unbiased=True)


class Truth(NamedTuple):
    loss: float
    gradients: tuple[Tensor, Tensor]  # (N, D) float64 each
    source: str


class Errors(NamedTuple):
    loss: float  # relative
    gradient: float  # relative L2 over both views

    def within(self, operands: str) -> bool:
        """Whether both are within the tolerance for a cell's operands; NaN is not."""
        return self.loss <= TOLERANCE[operands] and self.gradient <= TOLERANCE[operands]


def textbook_truth(z_a: Tensor, z_b: Tensor, definition: Definition = AUTHORS) -> Truth:  # (N, D), (N, D)
    views = [z.detach().double().requires_grad_() for z in (z_a, z_b)]
    if definition.eps_on_std:
        y_a, y_b = (definition.standardize(z)[0] for z in views)
        c = y_a.T @ y_b / len(y_a)
        loss = (1 - c.diagonal()).square().sum() + LAMBD * (c.square().sum() - c.diagonal().square().sum())
    else:
        loss = reference_loss(*views, lambd=LAMBD, eps=definition.eps, unbiased=definition.unbiased)[0]
    return Truth(loss.item(), torch.autograd.grad(loss, views), "bt_kernels.reference in float64")


@torch.no_grad()
def blockwise_truth(z_a: Tensor, z_b: Tensor, definition: Definition = AUTHORS) -> Truth:  # (N, D), (N, D)
    n, d = z_a.shape
    blocks = [slice(start, start + BLOCK) for start in range(0, d, BLOCK)]

    def standardize(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return definition.standardize(z.double())

    k_a, k_b = (z_a.new_zeros(n, n, dtype=torch.float64) for _ in range(2))
    c_diagonal = z_a.new_empty(d, dtype=torch.float64)
    for block in blocks:
        (y_a, *_), (y_b, *_) = standardize(z_a[:, block]), standardize(z_b[:, block])
        k_a.addmm_(y_a, y_a.T)
        k_b.addmm_(y_b, y_b.T)
        c_diagonal[block] = (y_a * y_b).mean(0)
    off_diagonal = (k_a * k_b).sum() / n**2 - (c_diagonal**2).sum()
    loss = ((1 - c_diagonal) ** 2).sum() + LAMBD * off_diagonal

    gradients = [torch.empty_like(z, dtype=torch.float64, requires_grad=False) for z in (z_a, z_b)]
    diagonal = 2 * (c_diagonal - 1) - 2 * LAMBD * c_diagonal
    for block in blocks:
        (y_a, *of_a), (y_b, *of_b) = standardize(z_a[:, block]), standardize(z_b[:, block])
        for out, k, y, other, (r, share) in (
            (gradients[0], k_b, y_a, y_b, of_a),
            (gradients[1], k_a, y_b, y_a, of_b),
        ):
            dy = (2 * LAMBD / n**2) * (k @ y) + other * (diagonal[block] / n)
            # With eps on the deviation s, dy/ds brings r * s = sqrt(share) into the denominator.
            q = (dy * y).sum(0) / (n - int(definition.unbiased))
            q = q / share.sqrt() if definition.eps_on_std else q
            out[:, block] = r * (dy - dy.mean(0) - y * q)
    return Truth(loss.item(), (gradients[0], gradients[1]), "blockwise Gram formulation in float64")


def truth(z_a: Tensor, z_b: Tensor, definition: Definition = AUTHORS) -> Truth:  # (N, D), (N, D)
    return (textbook_truth if z_a.shape[1] <= REFERENCE_MAX_D else blockwise_truth)(z_a, z_b, definition)


def errors(loss: Tensor | float, gradients: tuple[Tensor, Tensor], expected: Truth, loss_scale: float) -> Errors:
    difference = norm = 0.0
    for got, want in zip(gradients, expected.gradients, strict=True):
        for got_block, want_block in zip(got.split(BLOCK, dim=1), want.split(BLOCK, dim=1), strict=True):
            difference += (got_block.double() / loss_scale - want_block).square().sum().item()
            norm += want_block.square().sum().item()
    return Errors(abs(float(loss) - expected.loss) / abs(expected.loss), (difference / norm) ** 0.5)


def check_truth(device: torch.device) -> None:
    """Raises AssertionError unless the two truths agree to float64's precision, in either definition."""
    generator = torch.Generator().manual_seed(0)
    z_a, z_b = (torch.randn(48, 96, generator=generator, dtype=torch.float64).to(device) for _ in range(2))
    for definition in (AUTHORS, MONAI):
        textbook, blockwise = textbook_truth(z_a, z_b, definition), blockwise_truth(z_a, z_b, definition)
        found = errors(blockwise.loss, blockwise.gradients, textbook, 1.0)
        if not max(found) <= 1e-12:
            raise AssertionError(f"the benchmark's two float64 truths disagree: {found}")
