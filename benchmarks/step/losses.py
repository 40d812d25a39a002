"""The losses that a training step is timed with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.shared import baselines, correctness
from benchmarks.shared.baselines import Loss
from benchmarks.shared.correctness import Definition
from bt_kernels import barlow_twins_loss


def bt_kernels(d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """Ours: backend and formulation are "auto"."""
    return lambda z_a, z_b: barlow_twins_loss(z_a, z_b, lambd=baselines.LAMBD, eps=baselines.EPS)


@dataclass(frozen=True)
class StepLoss:
    label: str
    formula: Callable[[int, torch.device, torch.dtype], Loss]  # of D, the device and the embeddings' dtype
    compiled: bool = False
    definition: Definition = correctness.AUTHORS  # what it should compute

    def build(self, d: int, device: torch.device, dtype: torch.dtype) -> Loss:
        """The loss of embeddings (N, D) of that dtype on that device."""
        loss = self.formula(d, device, dtype)
        return torch.compile(loss, dynamic=False) if self.compiled else loss


OURS = "bt_kernels"
STEP_LOSSES = {
    OURS: StepLoss("bt_kernels", bt_kernels),
    "official": StepLoss("official formula", baselines.official),
    "official_compiled": StepLoss("official, compiled", baselines.official, compiled=True),
    "lightly": StepLoss("lightly", baselines.lightly),
    "solo_learn": StepLoss("solo-learn", baselines.solo_learn),
    "monai": StepLoss("MONAI", baselines.monai, definition=correctness.MONAI),
}
