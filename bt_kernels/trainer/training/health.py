"""Statistics of the embeddings that show trouble before the loss does, and the collapse that ends a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EPS = 1e-5  # what the loss adds to a variance
MOST_ROWS = 512  # of a rank, for the effective rank: its cost grows with their cube


@dataclass(frozen=True)
class EmbeddingStatistics:
    """Of two views' embeddings, over the batch of all ranks."""

    mean_correlation: float  # mean of C_ii: 1 for views that agree
    off_diagonal_rms: float  # root mean square of C_ij, i ≠ j: 0 for features without redundancy
    embedding_std: float  # mean over the features of their standard deviation: 0 for constant embeddings
    effective_rank: float  # mean over the ranks, each of its own rows: 1 for features that are all the same


@torch.no_grad()
def measure(
    z_a: Tensor,  # (n, D)
    z_b: Tensor,  # (n, D)
    off_diagonal: float,
    total: Callable[[Tensor], Tensor],
) -> EmbeddingStatistics:
    """Measure two views' embeddings; of several ranks all have to, each with rows of its own.

    Costs O(n D min(n, D)); no D × D matrix is formed for D > n.

    Args:
        z_a: This rank's rows of the first view's embeddings.
        z_b: This rank's rows of the second view's.
        off_diagonal: The loss's second term, Σ_{i≠j} C_ij², of the joined batch.
        total: Returns the sum of a tensor over the ranks.

    Returns:
        NaN where the embeddings are not finite; as the effective rank, too, if no rank has two rows.
    """
    d = z_a.shape[1]
    views = torch.stack([z_a, z_b]).double()  # (2, n, D)
    sums = total(torch.cat([views.sum(dim=1).flatten(), views.new_tensor([views.shape[1]])]))
    n = sums[-1]
    deviations = views - (sums[:-1] / n).view(2, 1, d)
    own_rank = effective_rank(deviations) if views.shape[1] > 1 else views.new_tensor(0.0)
    second = torch.cat(
        [
            deviations.square().sum(dim=1).flatten(),
            deviations.prod(dim=0).sum(dim=0),
            torch.stack([own_rank, own_rank.new_tensor(views.shape[1] > 1)]),
        ]
    )
    second = total(second)
    variances = second[: 2 * d].view(2, d) / n
    correlation = second[2 * d : 3 * d] / n / (variances + EPS).prod(dim=0).sqrt()
    return EmbeddingStatistics(
        mean_correlation=correlation.mean().item(),
        off_diagonal_rms=math.sqrt(off_diagonal / max(1, d * (d - 1))),
        embedding_std=variances.sqrt().mean().item(),
        effective_rank=(second[-2] / second[-1]).item(),
    )


def effective_rank(deviations: Tensor) -> Tensor:
    """Return the effective rank of standardized embeddings, a scalar in [1, min(rows, D)].

    It is exp(−Σ p log p) with p the eigenvalues of their Gram matrix as shares of its trace (Roy and Vetterli,
    2007).

    Args:
        deviations: From the mean, (2, n, D); both views together, at most ``MOST_ROWS`` rows of each.
    """
    rows = deviations[:, :MOST_ROWS].flatten(end_dim=1)
    rows = rows / (rows.square().mean(dim=0) + EPS).sqrt()
    if not rows.isfinite().all():
        return rows.new_tensor(math.nan)
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
    shares = eigenvalues / eigenvalues.sum().clamp(min=torch.finfo(eigenvalues.dtype).tiny)
    return torch.special.entr(shares).sum().exp()


class CollapseWatch:
    """Says when the embeddings have collapsed, beyond what a run starts with.

    A fresh network's embeddings may be small or have a low rank, so both count only after better was seen.
    Without the redundancy term the rank falls below 1.3 while the backbone's features still improve, so it must
    be lower than that. And both signs count only in ``CERTAIN`` measurements on end.
    """

    CONSTANT = math.sqrt(EPS)  # a standard deviation under which the loss sees eps rather than the features
    ONE_FEATURE = 1.1  # an effective rank under which all features say the same
    MORE_FEATURES = 3.0  # one that a network must have had before
    VARIED = 10 * CONSTANT  # a standard deviation that it must have had before
    CERTAIN = 3

    def __init__(self) -> None:
        self._highest_rank = 0.0
        self._highest_std = 0.0
        self._signs = 0  # measurements on end
        self._healthy_until = 0  # the last step that was measured without a sign

    @property
    def suspicious(self) -> bool:
        """Whether the last measurement had a sign of collapse."""
        return self._signs > 0

    @property
    def healthy_until(self) -> int:
        """The last step that was measured without a sign of collapse."""
        return self._healthy_until

    def seen(self, step: int, statistics: EmbeddingStatistics) -> str | None:
        """Take a step's measurement; return what has happened once it is certain, else None."""
        rank, std = statistics.effective_rank, statistics.embedding_std
        sign = None
        if std < self.CONSTANT and self._highest_std > self.VARIED:
            sign = f"the embeddings have become constant (mean standard deviation {std:.1e})"
        elif rank < self.ONE_FEATURE and self._highest_rank > self.MORE_FEATURES:
            sign = f"all features of the embeddings have become one (effective rank {rank:.2f})"
        self._highest_rank = max(self._highest_rank, rank)
        self._highest_std = max(self._highest_std, std)
        self._signs = self._signs + 1 if sign else 0
        if not sign and math.isfinite(std):
            self._healthy_until = step
        return sign if self._signs >= self.CERTAIN else None

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` goes on from."""
        return vars(self).copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        vars(self).update(state)
