"""The losses that the paper compares with its own (table 5), and SimCLR's (figure 2)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bt_kernels import BarlowTwinsLoss
from bt_kernels.loss import LossTerms

CROSS_ENTROPY_LAMBD = 1.0
INFO_NCE_TEMPERATURE = 0.2
EPS = 1e-5

Criterion = Callable[[Tensor, Tensor], LossTerms]  # (N, D), (N, D)


def build_criterion(loss: str, lambd: float) -> Criterion:
    """Return a loss of two views' embeddings, (N, D) each, and its two terms.

    What Barlow Twins' loss can express is computed by bt_kernels.

    Args:
        loss: "barlow", "invariance", "redundancy", "features" (normalized along the features first), "covariance",
            "cross-entropy-T" with a temperature T, or "info-nce".
        lambd: Weight of the redundancy term; the cross-entropy and InfoNCE have none.

    Raises:
        ValueError: there is no such loss.
    """
    ours = BarlowTwinsLoss(lambd=lambd, process_group=None).terms
    if loss == "barlow":
        return ours
    if loss == "invariance":
        return lambda z_a, z_b: only(ours(z_a, z_b), "on_diagonal")
    if loss == "redundancy":
        return lambda z_a, z_b: only(ours(z_a, z_b), "off_diagonal")
    if loss == "features":
        return lambda z_a, z_b: ours(normalize_features(z_a), normalize_features(z_b))
    if loss == "covariance":
        return lambda z_a, z_b: covariance_loss(z_a, z_b, lambd)
    if loss == "info-nce":
        return lambda z_a, z_b: info_nce(z_a, z_b, INFO_NCE_TEMPERATURE)
    name, _, temperature = loss.rpartition("-")
    if name == "cross-entropy":
        return lambda z_a, z_b: cross_entropy(z_a, z_b, float(temperature), CROSS_ENTROPY_LAMBD)
    raise ValueError(f"there is no loss {loss!r}")


def only(terms: LossTerms, name: str) -> LossTerms:
    """Return the terms with one of them as the loss."""
    return terms._replace(loss=getattr(terms, name))


def normalize_features(z: Tensor) -> Tensor:
    """Standardize every embedding over its own features: (N, D) to (N, D)."""
    return F.layer_norm(z, z.shape[1:], eps=EPS)


def covariance_loss(z_a: Tensor, z_b: Tensor, lambd: float) -> LossTerms:
    """Σ_i (1 − K_ii)² + λ Σ_{i≠j} K_ij² of the cross-covariance K = (z_a − mean)ᵀ (z_b − mean) / N, (D, D)."""
    k = (z_a - z_a.mean(0)).T @ (z_b - z_b.mean(0)) / len(z_a)
    diagonal = k.diagonal()
    on_diagonal = (1 - diagonal).square().sum()
    off_diagonal = k.square().sum() - diagonal.square().sum()
    return LossTerms(on_diagonal + lambd * off_diagonal, on_diagonal, off_diagonal)


def cross_entropy(z_a: Tensor, z_b: Tensor, temperature: float, lambd: float) -> LossTerms:
    """The cross-entropy with temperature, of the cross-correlation C::

    −log Σ_i exp(C_ii / T) + λ log Σ_{i≠j} exp(max(C_ij, 0) / T)
    """
    y_a, y_b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + EPS).sqrt() for z in (z_a, z_b))
    c = y_a.T @ y_b / len(z_a)
    on_diagonal = -(c.diagonal() / temperature).logsumexp(0)
    own = torch.eye(len(c), dtype=torch.bool, device=c.device)
    off_diagonal = (c.clamp(min=0) / temperature).masked_fill(own, -torch.inf).flatten().logsumexp(0)
    return LossTerms(on_diagonal + lambd * off_diagonal, on_diagonal, off_diagonal)


def info_nce(z_a: Tensor, z_b: Tensor, temperature: float) -> LossTerms:
    """SimCLR's loss (Chen et al., 2020, eq. 1), the mean over the 2 N views.

    Of view i with the other view j of its image, and s the cosines of the embeddings::

        −s_ij / T + log Σ_{k≠i} exp(s_ik / T)

    The two summands are returned as the two terms.
    """
    z = F.normalize(torch.cat([z_a, z_b]), dim=1)
    similarities = z @ z.T / temperature
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    attraction = -similarities.diagonal(len(z_a)).mean()
    repulsion = similarities.masked_fill(own, -torch.inf).logsumexp(1).mean()
    return LossTerms(attraction + repulsion, attraction, repulsion)
