"""One step's forward and backward, of a batch at once or in chunks.

A batch in chunks needs the memory of one chunk. The loss is of the batch as a whole, so adding up the gradients of
the chunks' losses (``exact`` false) is another loss. The exact way runs the network twice: first over all chunks
without keeping what a backward needs, for the embeddings of the whole batch; the loss of these and its gradient
with respect to them; then over each chunk again, from the same random numbers and buffers, with its backward. The
gradient is that of the batch at once, for a network that treats every image by itself. Batch norm does not: it
sees the chunk, as it sees one rank's rows where its statistics are not exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bt_kernels.loss import LossTerms
from bt_kernels.trainer.randomness import random_state, restore_random_state


@dataclass(frozen=True)
class StepResult:
    """What a step computed, without a graph."""

    loss: Tensor  # (), neither divided nor scaled
    on_diagonal: Tensor  # ()
    off_diagonal: Tensor  # ()
    z_a: Tensor  # (N, D), of this rank's rows
    z_b: Tensor  # (N, D)

    @classmethod
    def of(cls, terms: LossTerms, z_a: Tensor, z_b: Tensor) -> StepResult:
        """Without the graphs of what it is made of."""
        loss, on_diagonal, off_diagonal = (term.detach() for term in terms)
        return cls(loss, on_diagonal, off_diagonal, z_a.detach(), z_b.detach())


def forward_backward(
    network: nn.Module,
    criterion: Callable[[Tensor, Tensor], LossTerms],
    view_a: Tensor,  # (N, C, S, S)
    view_b: Tensor,  # (N, C, S, S)
    *,
    chunks: int,
    exact: bool,
    gradient_divisor: float,
    autocast: Callable[[], AbstractContextManager[object]],
    scale: Callable[[Tensor], Tensor],
    synchronize: Callable[[bool], None],
    check: Callable[[StepResult], None],
) -> StepResult:
    """Add the gradient of ``scale(loss / gradient_divisor)`` to the network's parameters.

    Args:
        network: From two views to their embeddings, (N, D) each.
        criterion: The loss and its terms; over several ranks it is collective, and of all their rows.
        view_a: This rank's rows of the first views.
        view_b: This rank's rows of the second views.
        chunks: How many parts to compute the rows in.
        exact: One loss over all chunks; else the mean of the chunks' losses.
        gradient_divisor: Divides the loss before its backward.
        autocast: Makes the context that the network runs in.
        scale: Scales the loss for float16.
        synchronize: Called before each chunk's forward: whether its backward exchanges gradients over the ranks.
        check: Called with the result before the network's gradients are computed, in chunks that are not exact
            with every chunk's own before its gradients; may raise.

    Returns:
        The loss, its terms and the embeddings.
    """
    rows = [view_a.tensor_split(chunks), view_b.tensor_split(chunks)]
    step = _Step(network, criterion, gradient_divisor, autocast, scale, synchronize, check)
    if exact and chunks > 1:
        return step.exact(*rows)
    return step.ordinary(*rows)


@dataclass(frozen=True)
class _Step:
    network: nn.Module
    criterion: Callable[[Tensor, Tensor], LossTerms]
    gradient_divisor: float
    autocast: Callable[[], AbstractContextManager[object]]
    scale: Callable[[Tensor], Tensor]
    synchronize: Callable[[bool], None]
    check: Callable[[StepResult], None]

    def ordinary(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> StepResult:
        """Every chunk's own loss, and the mean of them."""
        results = []
        for index, views in enumerate(zip(a, b, strict=True)):
            self.synchronize(index == len(a) - 1)
            with self.autocast():
                z_a, z_b = self.network(*views)
            terms = self.criterion(z_a, z_b)
            results.append(StepResult.of(terms, z_a, z_b))
            self.check(results[-1])
            self.scale(terms.loss / (self.gradient_divisor * len(a))).backward()
        if len(results) == 1:
            return results[0]
        means = LossTerms(
            *(
                torch.stack([getattr(result, name) for result in results]).mean()
                for name in ("loss", "on_diagonal", "off_diagonal")
            )
        )
        return StepResult.of(means, torch.cat([r.z_a for r in results]), torch.cat([r.z_b for r in results]))

    def exact(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> StepResult:
        """One loss of the whole batch."""
        chunks = list(zip(a, b, strict=True))
        random_states, embeddings = self._embed(chunks)
        z_a, z_b = (torch.cat(z).requires_grad_() for z in zip(*embeddings, strict=True))
        terms = self.criterion(z_a, z_b)
        result = StepResult.of(terms, z_a, z_b)
        self.check(result)
        gradients = torch.autograd.grad(self.scale(terms.loss / self.gradient_divisor), (z_a, z_b))
        parts = zip(*(g.tensor_split(len(chunks)) for g in gradients), strict=True)
        for index, (views, state, gradient) in enumerate(zip(chunks, random_states, parts, strict=True)):
            self.synchronize(index == len(chunks) - 1)
            restore_random_state(state, views[0].device)
            with self.autocast():
                again = self.network(*views)
            torch.autograd.backward(again, gradient)
        return result

    def _embed(
        self, chunks: list[tuple[Tensor, Tensor]]
    ) -> tuple[list[dict[str, Tensor]], list[tuple[Tensor, Tensor]]]:
        """Return the random state before every chunk and its embeddings, without a graph."""
        # DistributedDataParallel prepares for a backward, and hands out rank 0's buffers, in the second pass.
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        random_states, embeddings = [], []
        with torch.no_grad(), buffers_kept(network):
            for views in chunks:
                random_states.append(random_state(views[0].device))
                with self.autocast():
                    embeddings.append(network(*views))
        return random_states, embeddings


@contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """Give a network's buffers, such as the running averages of batch norms, their values back in the end."""
    buffers = list(network.buffers())
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        if buffers:
            torch._foreach_copy_(buffers, kept)
