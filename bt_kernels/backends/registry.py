"""Which backend runs: probe, choose, refuse with a reason."""

from __future__ import annotations

import warnings

import torch

from bt_kernels.backends import cpu, cuda, eager, triton
from bt_kernels.backends.stages import Availability, Backend
from bt_kernels.backends.torch_ops import first_line
from bt_kernels.embeddings import DTYPES
from bt_kernels.once import first_time
from bt_kernels.torch_versions import constant_to_dynamo

BACKENDS: dict[str, Backend] = {"cuda": cuda.BACKEND, "triton": triton.BACKEND, "cpu": cpu.BACKEND, "eager": eager}
# What "auto" tries for a type of device, fastest first. "eager" runs wherever PyTorch does. The order is measured,
# not assumed: until "cuda" has been measured beside "triton", it runs where it is asked for by name.
AUTO = {"cpu": ("cpu", "eager"), "cuda": ("triton", "eager")}


def tried_by_auto(device: torch.device) -> tuple[str, ...]:
    return AUTO.get(device.type, ("eager",))


def available_backends(
    device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, Availability]:
    """Every backend by name, and whether it can take embeddings of that dtype on that device: why, or why not.

    The order is that in which backend="auto" tries them; those that it never tries are last. It takes the first
    whose ok is True:

        next(name for name, found in available_backends().items() if found.ok)

    Args:
        device: a torch.device or its name. None: the current accelerator if there is one, else the CPU.
        dtype: float64, float32, bfloat16 or float16.

    Returns:
        name -> Availability(ok, reason, fault).

    Raises:
        TypeError: an argument has the wrong type, or embeddings cannot have that dtype.
        ValueError: torch knows no device of that name.
    """
    device = as_device(device)
    if dtype not in DTYPES:
        raise TypeError(f"dtype must be float64, float32, bfloat16 or float16, got {dtype!r}")
    names = dict.fromkeys((*tried_by_auto(device), *BACKENDS))
    if why_not := why_not_here(device):
        return dict.fromkeys(names, Availability(False, why_not))
    return {name: BACKENDS[name].availability(device, dtype) for name in names}


def as_device(device: torch.device | str | None) -> torch.device:
    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    if not isinstance(device, torch.device | str):
        raise TypeError(f"device must be a torch.device, its name or None, got {device!r}")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be one of torch's, such as 'cpu' or 'cuda:0', got {device!r}") from None


def why_not_here(device: torch.device) -> str | None:
    """Why there are no tensors on that device in this process, in one sentence; None if there are."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device has errors of its own
        sentence = first_line(error).split(". ")[0]  # some go on about operators, in 20 lines' length
        return f"torch finds no device {device} here: {sentence}"
    return None


def choose_backend(requested: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """Resolves "auto" to the fastest backend that works there; a backend asked for by name works or raises.

    "auto" warns, once in a process, of a backend that should work there and does not.

    Raises RuntimeError with the reason.
    """
    name, why_not = find_backend(requested, device, dtype)
    if why_not is not None:
        raise RuntimeError(f"backend {name!r} cannot run on device {device}: {why_not}")
    return name


# The answer does not change in a process. While torch.compile traces, it is found by running this, imports and
# warnings included, instead of tracing it.
@constant_to_dynamo
def find_backend(requested: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str | None]:
    """The backend, and why it cannot run; None if it can."""
    for name in tried_by_auto(device) if requested == "auto" else (requested,):
        found = BACKENDS[name].availability(device, dtype)
        if found.ok:
            return name, None
        if found.fault and requested == "auto":
            warn_of(name, found.reason)
    return name, found.reason


def warn_of(name: str, reason: str) -> None:
    if first_time(f"fault of {name}"):
        message = f'backend="auto" passes over {name!r}, which is installed here and does not work: {reason}'
        warnings.warn(message, RuntimeWarning, stacklevel=2)
