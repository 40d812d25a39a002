"""The gate before the clock: the losses of a training step against float64, on the network's own embeddings."""

import torch
from torch import Tensor

from benchmarks.shared import correctness
from benchmarks.shared.correctness import Definition, Errors, Truth
from benchmarks.shared.device import CudaDevice, Device
from benchmarks.step.losses import STEP_LOSSES, Loss


class Gate:
    """The truths of one pair of embeddings, each made when it is first asked for."""

    def __init__(self, device: Device, z_a: Tensor, z_b: Tensor) -> None:
        self.device = device
        self.views = (z_a, z_b)
        self._truths: dict[Definition, Truth] = {}

    def errors(self, name: str, loss_of: Loss) -> tuple[Errors, float]:
        """What the loss of that name gets wrong, and what forward and backward take of it, in seconds."""
        definition = STEP_LOSSES[name].definition
        if definition not in self._truths:
            self._truths[definition] = correctness.truth(*self.views, definition)
        returned: list[Tensor] = []

        def call() -> None:
            loss = loss_of(*self.views)
            returned[:] = loss.detach(), *torch.autograd.grad(loss, self.views)

        seconds = self.device.time(call)
        if STEP_LOSSES[name].compiled or isinstance(self.device, CudaDevice):  # the first call may compile kernels
            seconds = self.device.time(call)
        loss, dz_a, dz_b = returned
        return correctness.errors(loss, (dz_a, dz_b), self._truths[definition], 1.0), seconds
