"""LARS as the authors' code has it, in few kernels, for whole parameters and for those spread by FSDP2.

timm's ``Lars`` is something else: its trust ratio divides by ‖g‖ + weight_decay ‖p‖ + eps, a sum of two norms, and
with a weight decay of 0 it adapts nothing. Here, as in the authors' code, the decay is added to the gradient
first, and the ratio, taken with any weight decay, divides by the norm of the sum, ‖g + weight_decay p‖.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from bt_kernels.trainer.parallel.replicas import is_spread, layout_of, local


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling with momentum.

    For every parameter p with gradient g, and its momentum mu, at first 0::

        if p has more than one dimension:
            g  = g + weight_decay p
            g  = g trust_coefficient ‖p‖ / ‖g‖    (unless a norm is 0)
        mu = momentum mu + g
        p  = p - lr mu

    Biases and the parameters of norms, which have one dimension, are neither decayed nor adapted. A parameter's
    state is ``mu``. A step reads nothing back from the device. The norms of a parameter that FSDP2 has spread over
    ranks are those of the whole: a step is collective then, with one all-reduce for each group, of two numbers a
    parameter.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        momentum: In [0, 1).
        weight_decay: At least 0.
        trust_coefficient: What the authors call eta.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        if not (lr >= 0 and 0 <= momentum < 1 and weight_decay >= 0 and trust_coefficient > 0):
            raise ValueError(
                "LARS needs lr >= 0, momentum in [0, 1), weight_decay >= 0 and trust_coefficient > 0, got "
                f"{lr}, {momentum}, {weight_decay} and {trust_coefficient}"
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters once; return what ``closure`` returned, which computes the gradients if given.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if any(p.grad.is_sparse for p in moved):
                raise RuntimeError(
                    "LARS needs dense gradients, got a sparse one; use sparse=False in nn.Embedding"
                )
            if moved:
                self._move(moved, group)
        return result

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for p in parameters:
            if "mu" not in self.state[p]:
                self.state[p]["mu"] = torch.zeros_like(p)
        momenta = [local(self.state[p]["mu"]) for p in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, self._updates(parameters, group))
        torch._foreach_add_([local(p) for p in parameters], momenta, alpha=-group["lr"])

    @staticmethod
    def _updates(parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """The gradients, this rank's parts of them, decayed and adapted where they are to be."""
        updates = [local(gradient) for p in parameters if (gradient := p.grad) is not None]  # that of each
        adapted = [index for index, p in enumerate(parameters) if p.ndim > 1]
        if not adapted:
            return updates
        decayed = torch._foreach_add(
            [updates[index] for index in adapted],
            [local(parameters[index]) for index in adapted],
            alpha=group["weight_decay"],
        )
        ratios = _trust_ratios([parameters[index] for index in adapted], decayed, group["trust_coefficient"])
        torch._foreach_mul_(decayed, ratios)
        for index, update in zip(adapted, decayed, strict=True):
            updates[index] = update
        return updates


def _trust_ratios(
    parameters: list[Tensor], updates: tuple[Tensor, ...] | list[Tensor], coefficient: float
) -> list[Tensor]:
    """Return coefficient ‖p‖ / ‖update‖ of every parameter, or 1 where a norm is 0, as scalars on the device."""
    norms = torch.stack(
        [
            torch.stack(torch._foreach_norm([local(p) for p in parameters])),
            torch.stack(torch._foreach_norm(updates)),
        ]
    )
    sizes, update_sizes = _over_ranks(norms, parameters)
    ratios = coefficient * sizes / update_sizes
    return list(ratios.where((sizes > 0) & (update_sizes > 0), 1.0).unbind())


def _over_ranks(norms: Tensor, parameters: list[Tensor]) -> Tensor:
    """Return the norms (2, P) of whole tensors from those of this rank's parts; one collective per layout."""
    columns = list(norms.unbind(1))
    layouts: dict[Any, list[int]] = {}
    for index, p in enumerate(parameters):
        if is_spread(p):
            layouts.setdefault(layout_of(p), []).append(index)
    for (mesh, placements), indices in layouts.items():
        # In float64, where no square of a float32 over- or underflows.
        squares = torch.stack([columns[index] for index in indices], dim=1).double().square()
        for dimension, placement in enumerate(placements):
            if placement.is_shard():
                dist.all_reduce(squares, group=mesh.get_group(dimension))
        for index, column in zip(indices, squares.sqrt().to(norms.dtype).unbind(1), strict=True):
            columns[index] = column
    return torch.stack(columns, dim=1)
