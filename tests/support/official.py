"""The authors' code as the yardstick: facebookresearch/barlowtwins main.py on one process, any dtype."""

import torch
import torch.nn.functional as F
from torch import Tensor


def standardize(z: Tensor, eps: float, unbiased: bool) -> Tensor:
    if unbiased or eps == 0:  # as the peers without BatchNorm1d write it, which does neither
        return (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=unbiased) + eps)
    return F.batch_norm(z, None, None, training=True, eps=eps)  # BatchNorm1d(D, affine=False)


def official_loss(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    lambd: float,
    scale: float,
    eps: float,
    unbiased: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, on_diagonal, off_diagonal), each step in the dtype of the inputs."""
    n, d = z_a.shape
    c = standardize(z_a, eps, unbiased).T @ standardize(z_b, eps, unbiased) / n
    on_diagonal = (torch.diagonal(c) - 1).pow(2).sum()
    # The official off_diagonal(): all but the last entry, cut into rows one longer, has the diagonal in column 0.
    off_diagonal = c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].pow(2).sum()
    return scale * (on_diagonal + lambd * off_diagonal), on_diagonal, off_diagonal
