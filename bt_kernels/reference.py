"""The textbook formula, step by step as the paper writes it: the one truth that every backend is tested against.

It holds C whole and lets autograd differentiate each step; it shares no code with the backends. The mean is
taken out twice: a feature that hardly varies, or not at all, would be seen to vary by the rounding of its mean.
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

    def standardize(z: Tensor) -> Tensor:
        centred = z - z.mean(0)
        centred = centred - centred.mean(0)
        variance = (centred**2).sum(0) / (n - int(unbiased))
        return centred / torch.sqrt(variance + eps)

    c = standardize(z_a).T @ standardize(z_b) / n
    identity = torch.eye(d, dtype=torch.bool, device=z_a.device)
    on_diagonal = ((1 - c[identity]) ** 2).sum()
    off_diagonal = (c[~identity] ** 2).sum()
    return scale * (on_diagonal + lambd * off_diagonal), on_diagonal, off_diagonal
