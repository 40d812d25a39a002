"""Which backend runs: probe, choose, refuse with a reason."""

import torch

from bt_kernels.backends import cpu, eager
from bt_kernels.backends.stages import Availability, Backend

# Fastest first: the order in which "auto" tries them. "eager" runs wherever PyTorch does.
BACKENDS: dict[str, Backend] = {"cpu": cpu, "eager": eager}


def availabilities(device: torch.device) -> dict[str, Availability]:
    """For each backend, whether it can take embeddings on that device, and why or why not."""
    return {name: backend.availability(device) for name, backend in BACKENDS.items()}


def choose_backend(requested: str, device: torch.device) -> str:
    """Resolves "auto" to the fastest backend that works on the device; a backend asked for by name works or raises.

    Raises RuntimeError with the reason.
    """
    if requested == "auto":
        return next(name for name, backend in BACKENDS.items() if backend.availability(device).ok)
    availability = BACKENDS[requested].availability(device)
    if not availability.ok:
        raise RuntimeError(f"backend {requested!r} cannot run on device {device}: {availability.reason}")
    return requested
