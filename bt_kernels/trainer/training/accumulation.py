"""One step's forward and backward, of a batch at once or in chunks.

A batch in chunks needs the memory of one chunk. The loss is of the batch as a whole, so adding up the gradients of
the chunks' losses (``exact`` false) is another loss. The exact way runs the network twice: first over all chunks
without keeping what a backward needs, for the embeddings of the whole batch; the loss of these and its gradient
with respect to them; then over each chunk again, with its backward. The gradient is that of the batch at once, for a
network that treats every image by itself. Batch norm does not: it sees the chunk, as it sees one rank's rows where
its statistics are not exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from bt_kernels.loss import LossTerms


@dataclass(frozen=True)
class StepResult:
    """What a step computed, without a graph."""

    loss: Tensor  # (), neither divided nor scaled
    on_diagonal: Tensor  # ()
    off_diagonal: Tensor  # ()
    z_a: Tensor  # (N, D)
    z_b: Tensor  # (N, D)


def forward_backward(
    network: nn.Module,
    criterion: Callable[[Tensor, Tensor], LossTerms],
    view_a: Tensor,  # (N, C, S, S)
    view_b: Tensor,  # (N, C, S, S)
    *,
    chunks: int,
    exact: bool,
    divisor: float,
    autocast: Callable[[], AbstractContextManager[object]],
    scale: Callable[[Tensor], Tensor],
    synchronize: Callable[[bool], None],
    check: Callable[[StepResult], None],
) -> StepResult:
    """Add the gradient of ``scale(loss / divisor)`` to the network's parameters.

    Args:
        network: From two views to their embeddings, (N, D) each.
        criterion: The loss and its terms; over several ranks it is collective, and of all their rows.
        view_a: This rank's rows of the first views.
        view_b: This rank's rows of the second views.
        chunks: How many parts to compute the rows in.
        exact: One loss over all chunks; else the mean of the chunks' losses.
        divisor: Divides the loss before its backward.
        autocast: Makes the context that the network runs in.
        scale: Scales the loss for float16.
        synchronize: Called before each chunk's forward: whether its backward exchanges gradients over the ranks.
        check: Called with the result before any gradient is computed, in chunks that are not exact with the
            first chunk's; may raise.

    Returns:
        The loss, its terms and the embeddings.
    """
    rows = [view_a.tensor_split(chunks), view_b.tensor_split(chunks)]
    step = _Step(network, criterion, divisor, autocast, scale, synchronize, check)
    if exact and chunks > 1:
        return step.exact(*rows)
    return step.ordinary(*rows)


@dataclass(frozen=True)
class _Step:
    network: nn.Module
    criterion: Callable[[Tensor, Tensor], LossTerms]
    divisor: float
    autocast: Callable[[], AbstractContextManager[object]]
    scale: Callable[[Tensor], Tensor]
    synchronize: Callable[[bool], None]
    check: Callable[[StepResult], None]

    def ordinary(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> StepResult:
        """Every chunk's own loss, and the mean of them."""
        results = []
        for index, views in enumerate(zip(a, b)):
            self.synchronize(index == len(a) - 1)
            with self.autocast():
                z_a, z_b = self.network(*views)
            terms = self.criterion(z_a, z_b)
            results.append(StepResult(*(t.detach() for t in terms), z_a.detach(), z_b.detach()))
            self.check(results[-1])
            self.scale(terms.loss / (self.divisor * len(a))).backward()
        if len(results) == 1:
            return results[0]
        means = (
            torch.stack([getattr(result, name) for result in results]).mean()
            for name in ("loss", "on_diagonal", "off_diagonal")
        )
        return StepResult(*means, torch.cat([r.z_a for r in results]), torch.cat([r.z_b for r in results]))

    def exact(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> StepResult:
        """One loss of the whole batch."""
        embeddings, random_states = [], []
        with torch.no_grad(), batch_statistics_only(self.network):
            for views in zip(a, b):
                random_states.append(_random_state(*views))
                with self.autocast():
                    embeddings.append(self.network(*views))
        z_a, z_b = (torch.cat(chunk).requires_grad_() for chunk in zip(*embeddings))
        terms = self.criterion(z_a, z_b)
        result = StepResult(*(t.detach() for t in terms), z_a.detach(), z_b.detach())
        self.check(result)
        gradients = torch.autograd.grad(self.scale(terms.loss / self.divisor), (z_a, z_b))
        parts = zip(*(g.tensor_split(len(a)) for g in gradients))
        for index, (views, state, gradient) in enumerate(zip(zip(a, b), random_states, parts)):
            self.synchronize(index == len(a) - 1)
            _restore(state)
            with self.autocast():
                again = self.network(*views)
            torch.autograd.backward(again, gradient)
        return result


@contextmanager
def batch_statistics_only(network: nn.Module) -> Iterator[None]:
    """While it lasts, batch norms in training mode leave their running averages as they are."""
    tracking = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def _random_state(*tensors: Tensor) -> tuple[Tensor, tuple[list[int], list[Tensor]]]:
    """The state of the global generators of the CPU and of the tensors' device."""
    return torch.get_rng_state(), get_device_states(*tensors)


def _restore(state: tuple[Tensor, tuple[list[int], list[Tensor]]]) -> None:
    torch.set_rng_state(state[0])
    set_device_states(*state[1])
