"""Embeddings from the start of a training to its end: what the views share, how redundant their features are."""

from functools import lru_cache

import torch
from torch import Tensor

STRENGTHS = (0.0, 0.3, 0.6, 0.9, 0.99, 0.999)  # what the views share of a feature's variance: C_ii, about
FEATURES = ("redundant", "whitened")
RANK_SHARE = 8  # redundant: features are mixed from min(N, D) / 8 of them
SWEEPS = 4


def make_views(n: int, d: int, strength: float, features: str, seed: int) -> tuple[Tensor, Tensor]:
    """Two views' embeddings, (N, D) float64 each, on the CPU; neither centred nor of unit variance.

    Args:
        n, d: N and D.
        strength: In [0, 1], the share of a feature's variance that both views have in common.
        features: "redundant", mixed from few; or "whitened", as decorrelated as N and D allow: C is strength times
            the identity for N > D, up to noise of 1/√N at low strength, and for N <= D the signal's features are a
            tight frame.
        seed: The same seed gives the same signal and the same noise at every strength.
    """
    signal, own_a, own_b, scales, means = _parts(n, d, features, seed)
    views = [strength**0.5 * signal + (1 - strength) ** 0.5 * own for own in (own_a, own_b)]
    return views[0] * scales[0] + means[0], views[1] * scales[1] + means[1]


@lru_cache(maxsize=1)
def _parts(n: int, d: int, features: str, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if features == "whitened":
        parts = [whitened(randn(n, d)) for _ in range(3)]
    else:
        rank = max(1, min(n, d) // RANK_SHARE)
        mixing = randn(rank, d) / rank**0.5
        parts = [randn(n, rank) @ mixing for _ in range(3)]
    return *parts, 0.5 + randn(2, d).abs(), randn(2, d)


def whitened(x: Tensor) -> Tensor:
    """(N, D) -> (N, D), centred, columns of unit variance, and as nearly orthogonal as they can be."""
    n, d = x.shape
    x = x - x.mean(0)
    if n > d:
        return torch.linalg.qr(x).Q * n**0.5
    # A tight frame has equal singular values. Scaling the columns disturbs them, less with every sweep.
    for _ in range(SWEEPS):
        values, vectors = torch.linalg.eigh(x @ x.T)
        vectors = vectors[:, 1:] * values[1:] ** -0.25  # all but the direction that centring took away
        x = vectors @ (vectors.T @ x)
        x = vectors.new_tensor(n).sqrt() * x / torch.linalg.vector_norm(x, dim=0)
        x = x - x.mean(0)
    return x
