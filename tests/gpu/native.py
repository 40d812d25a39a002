"""What the GPU tests share: large embeddings made on the GPU, a whole step, room for it."""

import pytest
import torch
from torch import Tensor

from bt_kernels import barlow_twins_terms

GIB = 2**30


def large_views(n: int, d: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views (N, D) that agree in part, made on the GPU and in their own dtype to save time and memory."""
    generator = torch.Generator("cuda").manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(n, d, generator=generator, dtype=dtype, device="cuda")

    z_a = normal()
    z_b = normal().mul_(0.7).add_(z_a)
    return z_a, z_b


def step(z_a: Tensor, z_b: Tensor, **options) -> tuple[Tensor, ...]:
    """(loss, on_diagonal, off_diagonal, dz_a, dz_b)."""
    z_a, z_b = z_a.detach().requires_grad_(), z_b.detach().requires_grad_()
    terms = barlow_twins_terms(z_a, z_b, **options)
    return *(term.detach() for term in terms), *torch.autograd.grad(terms.loss, (z_a, z_b))


def same_bits(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return all(map(torch.equal, actual, expected))


def needs_memory(gib: int) -> None:
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    if free < gib * GIB:
        pytest.skip(f"needs {gib} GiB of free GPU memory, there are {free / GIB:.0f}")


def relative_l2(actual: Tensor, expected: Tensor) -> float:
    """A few columns at a time: the difference in float64 would not fit beside large gradients."""
    error = norm = 0.0
    columns = max(1, 2**24 // len(actual))
    for x, y in zip(actual.split(columns, 1), expected.split(columns, 1), strict=True):
        error += (x.double() - y.double()).square().sum().item()
        norm += y.double().square().sum().item()
    return (error / norm) ** 0.5
