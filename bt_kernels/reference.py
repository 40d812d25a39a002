"""The textbook formula, step by step as the paper writes it: the one truth that every backend is tested against.

It holds C whole and lets autograd differentiate each step; it shares no code with the backends.
"""

import torch
from torch import Tensor


def reference_loss(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    lambd: float = 0.0051,
    scale: float = 1.0,
    eps: float = 1e-5,
    unbiased: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Barlow Twins loss (Zbontar et al. 2021, eq. 1-2) in the dtype of its inputs; give it float64 to get
    the truth.

    Returns (loss, on_diagonal, off_diagonal), scalars: loss = scale * (on_diagonal + lambd * off_diagonal).
    """
    n, d = z_a.shape
    y_a = (z_a - z_a.mean(0)) / torch.sqrt(z_a.var(0, unbiased=unbiased) + eps)
    y_b = (z_b - z_b.mean(0)) / torch.sqrt(z_b.var(0, unbiased=unbiased) + eps)
    c = y_a.T @ y_b / n
    identity = torch.eye(d, dtype=torch.bool, device=z_a.device)
    on_diagonal = ((1 - c[identity]) ** 2).sum()
    off_diagonal = (c[~identity] ** 2).sum()
    return scale * (on_diagonal + lambd * off_diagonal), on_diagonal, off_diagonal
