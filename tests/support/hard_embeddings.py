"""Embeddings that are hard: where differences cancel, and where a feature barely varies."""

import torch

from tests.support.inputs import views
from tests.support.target import device


def whitened(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Embeddings (N, D) whose features are uncorrelated over the batch, D < N, or whose samples are, D >= N."""
    z = views(n, d, torch.float64, seed)[0]
    z = z - z.mean(0)
    u, _, v = torch.linalg.svd(z, full_matrices=False)
    rank = min(n - 1, d)  # centring takes one dimension
    return n**0.5 * u[:, :rank] @ v[:rank]


def orthogonal_views(n: int, d: int):
    """Each feature of one view is uncorrelated with each of the other, 2 D < N: C = 0."""
    both = whitened(n, 2 * d)
    u = torch.linalg.qr(both)[0] * n**0.5
    return u[:, :d], u[:, d:]


def dominated(n: int, d: int, weight: float):
    """Every feature of both views is one shared signal plus independent noise of 1 / weight."""
    z_a, z_b = views(n, d, torch.float64)
    signal = views(n, 1, torch.float64, seed=1)[0]
    return signal + z_a / weight, signal + z_b / weight


def nearly(z: torch.Tensor):
    return z, z + 1e-3 * views(*z.shape, torch.float64, seed=2)[0]


FEATURE = torch.arange(40)
CASES = {
    # rank(C) <= N - 1, so here the off-diagonal sum can be smallest beside the diagonal's.
    "whitened, N = D - 1": lambda: nearly(whitened(32, 33)),
    "whitened, N = D": lambda: nearly(whitened(33, 33)),
    "whitened, N = D + 1": lambda: nearly(whitened(34, 33)),
    "whitened, N = D + 1, identical": lambda: (whitened(34, 33),) * 2,
    "whitened, N < D": lambda: (whitened(16, 64),) * 2,
    "whitened, N > D": lambda: nearly(whitened(64, 16)),
    "whitened, N > D, identical": lambda: (whitened(64, 16),) * 2,
    "identical": lambda: (views(32, 48, torch.float64)[0],) * 2,
    "opposite": lambda: (views(32, 48, torch.float64)[0], -views(32, 48, torch.float64)[0]),
    "orthogonal": lambda: orthogonal_views(64, 24),
    "dominated 1e3": lambda: dominated(24, 40, 1e3),
    "dominated 1e6": lambda: dominated(24, 40, 1e6),
    "dominated, N > D": lambda: dominated(40, 24, 1e3),
    "one feature 1e6 times the others": lambda: tuple(
        z * torch.where(FEATURE.to(device()) == 7, 1e6, 1.0) for z in views(24, 40, torch.float64)
    ),
    # A variance near or below eps: |y| is well below 1, and a part of the gradient that eps alone leaves shows.
    "collapsed": lambda: tuple(3e-3 * z for z in views(24, 40, torch.float64)),
    "collapsed, N > D": lambda: tuple(3e-3 * z for z in views(40, 24, torch.float64)),
    "one view collapsed": lambda: (views(24, 40, torch.float64)[0], 1e-4 * views(24, 40, torch.float64)[1]),
    "every third feature collapsed": lambda: tuple(
        z * torch.where(FEATURE.to(device()) % 3 == 0, 1e-3, 1.0) for z in views(24, 40, torch.float64)
    ),
}
