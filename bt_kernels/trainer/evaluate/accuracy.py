"""Top-1 and top-5: how often the right class is the first, or among the first five, by its score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 5


@dataclass(frozen=True)
class TopAccuracy:
    """Shares of the images classified rightly, in [0, 1]."""

    top1: float
    top5: float


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Return how many classes go before the right one: (N, C) scores and (N,) labels to (N,) int64.

    Of equal scores the lower class goes first. A score that is NaN puts its class behind all others, so that
    no network is right by producing NaN.
    """
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    before = (scores > own) | (scores == own) & (classes < labels[:, None])
    return torch.where(own.squeeze(1).isnan(), scores.shape[1], before.sum(dim=1))


def top_accuracy(ranks: Tensor) -> TopAccuracy:
    """Return the accuracies of images whose right classes have these ranks, (N,)."""
    return TopAccuracy((ranks < 1).double().mean().item(), (ranks < TOP).double().mean().item())
