"""PyTorch's own random numbers, which dropout and stochastic depth draw: seeded, saved and restored per rank."""

from __future__ import annotations

from typing import Any

import torch

from bt_kernels.trainer.augmentation.seeds import mixed_seed


def seed_rank(seed: int, rank: int) -> None:
    """Seed PyTorch's global generators, of the CPU and of this process's GPU, for a rank."""
    torch.manual_seed(mixed_seed(seed, rank))


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of the global generators of the CPU and, if it is a GPU, of ``device``."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore what ``random_state`` returned; a GPU's is left out where it or this device is none."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
