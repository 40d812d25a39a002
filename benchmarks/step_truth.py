"""The gate before the clock: the losses of a training step against float64, on the network's own embeddings."""

import torch
from torch import Tensor

from benchmarks import correctness
from benchmarks.correctness import Definition, Errors, Truth
from benchmarks.step_losses import STEP_LOSSES, Loss


class Gate:
    """The truths of one pair of embeddings, each made when it is first asked for."""

    def __init__(self, z_a: Tensor, z_b: Tensor) -> None:
        self.views = (z_a, z_b)
        self._truths: dict[Definition, Truth] = {}

    def errors(self, name: str, loss_of: Loss) -> Errors:
        """What the loss of that name gets wrong."""
        definition = STEP_LOSSES[name].definition
        if definition not in self._truths:
            self._truths[definition] = correctness.truth(*self.views, definition)
        loss = loss_of(*self.views)
        gradients = torch.autograd.grad(loss, self.views)
        return correctness.errors(loss.detach(), gradients, self._truths[definition], 1.0)
