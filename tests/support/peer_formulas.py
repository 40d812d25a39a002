"""The losses of other projects on one process, restated from what their sources compute; any dtype.

They differ in how the embeddings are standardized, and in lambda and scale; the rest is the paper's.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from tests.support.accuracy import Formula


def batch_norm(z: Tensor) -> Tensor:  # biased, eps to the variance
    return F.batch_norm(z, None, None, training=True, eps=1e-5)


def unbiased_std(eps: float) -> Callable[[Tensor], Tensor]:
    return lambda z: (z - z.mean(0)) / (z.std(0) + eps)


def unbiased_variance(z: Tensor) -> Tensor:
    return (z - z.mean(0)) / (z.var(0) + 1e-12).sqrt()


class PeerFormula(NamedTuple):
    """A project's loss with its default arguments."""

    standardize: Callable[[Tensor], Tensor]
    lambd: float
    scale: float = 1.0
    # What it is, or is close to, in our options: for the natural scale of rounding errors alone.
    like: Formula = Formula()

    def correlation(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return self.standardize(z_a).T @ self.standardize(z_b) / len(z_a)

    def of_correlation(self, c: Tensor) -> Tensor:
        diagonal = c.diagonal()
        off_diagonal = c - diagonal.diag()
        return self.scale * ((1 - diagonal).square().sum() + self.lambd * off_diagonal.square().sum())

    def __call__(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return self.of_correlation(self.correlation(z_a, z_b))


def peer(
    standardize: Callable[[Tensor], Tensor], lambd: float, scale: float = 1.0, unbiased: bool = False
) -> PeerFormula:
    return PeerFormula(standardize, lambd, scale, Formula(lambd, scale, 1e-5, unbiased))


FORMULAS = {
    "official": peer(batch_norm, 0.0051),
    "lightly": peer(batch_norm, 5e-3),
    "solo": peer(batch_norm, 5e-3, 0.025),
    "stable_pretraining": peer(unbiased_std(1e-5), 5e-3, unbiased=True),
    "monai": peer(unbiased_std(1e-6), 5e-3, unbiased=True),
    "catalyst": peer(unbiased_variance, 1.0, unbiased=True),
}
