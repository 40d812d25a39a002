"""Sums in float64, also beside devices that have none: Apple's MPS, some of Intel's GPUs.

There the long sums, over samples or over features, are taken in float32 on the device, and their rounding beside
them. What they leave, D numbers or fewer, goes on in float64 on the CPU. So results are float64, on either.
"""

import functools

import torch
from torch import Tensor

from bt_kernels.torch_versions import constant_to_dynamo

KNOWN = {"cpu": True, "cuda": True, "meta": True, "mps": False}


def has_float64(device: torch.device) -> bool:
    """Whether there can be float64 tensors on that device, and sums of them."""
    return KNOWN[device.type] if device.type in KNOWN else try_float64(device)


@constant_to_dynamo
@functools.cache
def try_float64(device: torch.device) -> bool:
    try:
        torch.ones(2, dtype=torch.float64, device=device).sum()
    except (TypeError, RuntimeError):
        return False
    return True


def zero(device: torch.device) -> Tensor:  # ()
    return torch.zeros((), dtype=torch.float64, device=device if has_float64(device) else "cpu")


def widened(x: Tensor) -> Tensor:
    """A few numbers in float64."""
    return (x if has_float64(x.device) else x.cpu()).double()


def compensated_sum(x: Tensor, dim: int) -> Tensor:
    """The sum of float32 numbers over a dimension, in float64 on the CPU.

    Pairs are added on the device, and what each addition rounds off (Knuth's two-sum) is added up beside them.
    """
    x = x.movedim(dim, 0)
    lost = torch.zeros_like(x[0])
    while len(x) > 1:
        half = len(x) // 2
        first, second = x[:half], x[half : 2 * half]
        total = first + second
        seen = total - first
        lost = lost + ((first - (total - seen)) + (second - seen)).sum(0)
        x = torch.cat([total, x[2 * half :]])
    return widened(x[0]) + widened(lost)


def norm(x: Tensor, dim: int | None = None) -> Tensor:
    """The square root of the sum of x^2 over all of x or one dimension."""
    if has_float64(x.device):
        return torch.linalg.vector_norm(x, dim=dim, dtype=torch.float64)
    if dim is None:
        return torch.linalg.vector_norm(widened(x) if x.dim() < 2 else norm(x, -1))
    # Beside the largest, no square overflows and none that counts is lost.
    largest = x.detach().abs().amax(dim, keepdim=True)
    largest = torch.where(largest > 0, largest, 1)
    return compensated_sum((x / largest).square(), dim).sqrt() * widened(largest.squeeze(dim))


def sum_of_squares(x: Tensor, dim: int | None = None) -> Tensor:
    return norm(x, dim) ** 2


def inner_product(a: Tensor, b: Tensor) -> Tensor:  # (N, N), (N, N) -> ()
    product = a * b
    return product.sum(dtype=torch.float64) if has_float64(a.device) else compensated_sum(product, 1).sum()
