"""The formulas that the benchmark compares with, each as people run it today. Same numbers, coded differently.

All of them take lambd = 0.0051, scale = 1, eps = 1e-5 and the biased variance, the defaults of bt_kernels; MONAI's
definition alone has other statistics, and so another number.
Embeddings of 16 bits: the products and D x D matrices stay in 16 bits, as under autocast, and sums come out in
float32. solo-learn and MONAI take a float32 identity from C, and have float32 matrices from there on.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

LAMBD = 0.0051
EPS = 1e-5
MONAI_EPS = 1e-6  # added to the standard deviation

Loss = Callable[[Tensor, Tensor], Tensor]  # (N, D), (N, D) -> ()


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums and statistics."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def off_diagonal(c: Tensor) -> Tensor:  # (D, D) -> (D * (D - 1),), a copy
    """Without the first element, every row of D + 1 numbers begins right behind a diagonal element."""
    d = c.shape[0]
    return c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten()


def authors_terms(c: Tensor) -> Tensor:  # (D, D), which is written over
    """The authors' loss of C, its diagonal in place."""
    on_diag = torch.diagonal(c).add_(-1).pow_(2).sum(dtype=wide(c.dtype))
    off_diag = off_diagonal(c).pow_(2).sum(dtype=wide(c.dtype))
    return on_diag + LAMBD * off_diag


def official(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """The authors' code: main.py of github.com/facebookresearch/barlowtwins."""
    bn = nn.BatchNorm1d(d, affine=False, eps=EPS, device=device, dtype=wide(dtype))

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        c = bn(z_a).T @ bn(z_b)
        c.div_(z_a.shape[0])
        return authors_terms(c)

    return loss


def official_float32(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """The authors' code on 16-bit embeddings outside autocast: all of it in float32."""
    loss = official(d, device, torch.float32)
    return lambda z_a, z_b: loss(z_a.float(), z_b.float())


def solo_learn(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """solo-learn's (github.com/vturrisi/solo-learn, losses/barlow.py): a boolean mask weights the off-diagonal."""

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        bn = nn.BatchNorm1d(d, affine=False, eps=EPS, device=device, dtype=wide(dtype))
        c = torch.einsum("ni,nj->ij", bn(z_a), bn(z_b)) / z_a.shape[0]
        identity = torch.eye(d, device=c.device, dtype=wide(c.dtype))
        squared = (c - identity).pow(2)
        squared[~identity.bool()] *= LAMBD
        return squared.sum(dtype=wide(c.dtype))

    return loss


def lightly(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """lightly's (lightly/loss/barlow_twins_loss.py): no running statistics; C in place like the authors."""

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        y_a, y_b = (functional.batch_norm(z, None, None, training=True, eps=EPS) for z in (z_a, z_b))
        c = (y_a.T @ y_b).div_(z_a.shape[0])
        return authors_terms(c)

    return loss


def monai(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """MONAI's (monai/losses/barlow_twins.py): the unbiased deviation plus 1e-6, and a mask.

    Not the paper's number: C_ii is at most (N - 1) / N.
    """

    def standardize(z: Tensor) -> Tensor:
        return (z - z.mean(0)) / (z.std(0) + MONAI_EPS)

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        c = standardize(z_a).T @ standardize(z_b) / z_a.shape[0]
        identity = torch.eye(d, device=c.device, dtype=wide(c.dtype))
        squared = (c - identity).pow_(2)
        squared[~identity.bool()] *= LAMBD
        return squared.sum(dtype=wide(c.dtype))

    return loss


def gram(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """The Gram formulation as one writes it in plain PyTorch, differentiated by autograd."""

    def standardize(z: Tensor) -> Tensor:
        y = z.to(wide(z.dtype))
        variance, mean = torch.var_mean(y, dim=0, correction=0)
        return (y - mean) * torch.rsqrt(variance + EPS)

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        n = z_a.shape[0]
        y_a, y_b = standardize(z_a), standardize(z_b)
        c_diagonal = (y_a * y_b).mean(0)
        # The root of N goes into the operands, so that K stays within float16's range.
        x_a, x_b = (y_a / n**0.5).to(z_a.dtype), (y_b / n**0.5).to(z_b.dtype)
        k_a, k_b = x_a @ x_a.T, x_b @ x_b.T
        sum_of_squares = (k_a.to(wide(k_a.dtype)) * k_b).sum()
        on_diag = (1 - c_diagonal).pow(2).sum()
        return on_diag + LAMBD * (sum_of_squares - c_diagonal.pow(2).sum())

    return loss
