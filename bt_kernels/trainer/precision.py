"""The arithmetic of the network: autocast, and the scaled gradient that float16 needs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from bt_kernels.trainer.config import Config, resolve_device

# What a CPU that computes with them calls its instructions, x86's and Arm's.
_INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "avx10_2", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "avx10_2", "amx_fp16", "fp16_arith"),
}


def lacking_instructions(precision: str, device: torch.device) -> str | None:
    """Return what to say of a device that computes in this precision by conversions, and slowly; else None."""
    if precision == "float32":
        return None
    if device.type == "cuda":
        has = precision == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: Mapping[str, Any] = getattr(
            torch.cpu, "get_capabilities", dict
        )()  # an older PyTorch cannot say
        has = not capabilities or any(capabilities.get(name, False) for name in _INSTRUCTIONS[precision])
    return None if has else f"this {'GPU' if device.type == 'cuda' else 'CPU'} has no instructions for {precision}"


def settle_precision(config: Config, by_name: bool) -> tuple[Config, list[str]]:
    """Return the configuration as this machine is to run it, and what there is to say about it.

    Args:
        config: The run's options.
        by_name: Whether the precision was asked for by itself, and not by a preset.
    """
    lacking = lacking_instructions(config.precision, resolve_device(config.device))
    if lacking is None:
        return config, []
    if by_name:
        return config, [slow_precision(lacking)]
    said = f"precision float32: {lacking}; --precision {config.precision} takes it all the same"
    return replace(config, precision="float32"), [said]


def slow_precision(lacking: str) -> str:
    """The sentence about a precision that is taken though its instructions are lacking."""
    return f"{lacking}, and --precision float32 is likely much faster here"


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
