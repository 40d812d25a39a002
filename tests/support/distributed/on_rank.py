"""What the ranks run."""

from collections.abc import Callable

import torch
from torch import Tensor

from bt_kernels import barlow_twins_loss, barlow_twins_terms


def loss_and_gradients(
    group, options: dict, output_gradients: tuple[float, float, float], z_a: Tensor, z_b: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """The three terms of the rows z_a, z_b beside those of the other ranks, and the gradients for these rows."""
    z_a, z_b = (z.detach().requires_grad_() for z in (z_a, z_b))
    terms = barlow_twins_terms(z_a, z_b, process_group=group, **options)
    used = [(term, g) for term, g in zip(terms, output_gradients, strict=True) if g]
    gradients = torch.autograd.grad(
        [term for term, _ in used], (z_a, z_b), [torch.full_like(term, g) for term, g in used]
    )
    return tuple(term.detach() for term in terms), gradients


def error_of(function: Callable, *arguments) -> tuple[str, str]:
    """The type and message of what it raises; fails if it returns."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__, str(error)
    raise AssertionError(f"{function.__name__} raised nothing")


def call(group, shape, dtype, options, requires_grad=(True, True)) -> torch.Tensor:
    z_a, z_b = (torch.ones(shape, dtype=dtype) for _ in range(2))
    for z, needed in zip((z_a, z_b), requires_grad, strict=True):
        z.requires_grad_(needed and dtype.is_floating_point)
    return barlow_twins_loss(z_a, z_b, process_group=group, **options)


def error_on_rank(group, *arguments) -> tuple[str, str]:
    return error_of(call, group, *arguments)
