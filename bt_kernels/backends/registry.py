"""Which backend runs: probe, choose, refuse with a reason."""

import torch

from bt_kernels.backends import cpu, cuda, eager, triton
from bt_kernels.backends.stages import Availability, Backend

BACKENDS: dict[str, Backend] = {"cuda": cuda, "triton": triton, "cpu": cpu, "eager": eager}
# What "auto" tries for a type of device, fastest first. "eager" runs wherever PyTorch does. The order is measured,
# not assumed: until "cuda" has been measured beside "triton", it runs where it is asked for by name.
AUTO = {"cpu": ("cpu", "eager"), "cuda": ("triton", "eager")}


def availabilities(device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, Availability]:
    """For each backend, whether it can take embeddings of that dtype on that device, and why or why not."""
    return {name: backend.availability(device, dtype) for name, backend in BACKENDS.items()}


def choose_backend(requested: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """Resolves "auto" to the fastest backend that works there; a backend asked for by name works or raises.

    Raises RuntimeError with the reason.
    """
    if requested == "auto":
        order = AUTO.get(device.type, ("eager",))
        requested = next((name for name in order if BACKENDS[name].availability(device, dtype).ok), "eager")
    availability = BACKENDS[requested].availability(device, dtype)
    if not availability.ok:
        raise RuntimeError(f"backend {requested!r} cannot run on device {device}: {availability.reason}")
    return requested
