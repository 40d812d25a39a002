"""The arithmetic of the network: autocast, and the scaled gradient that float16 needs."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch


class Precision:
    """What a ``precision`` option means on a device.

    Args:
        name: "float32", "bfloat16" or "float16".
        device: Of the network.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._device = device.type
        self.dtype: torch.dtype = getattr(torch, name)  # of the embeddings
        if name == "float16":
            # The scaler leaves out steps, the first ones above all, and the schedule goes on.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        # float16 loses gradients below 6e-8; bfloat16 has float32's range.
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that the network runs in; the loss computes in float32 in any."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device, dtype=self.dtype)
