"""What a result file says of where and from what its numbers came."""

import os
import platform
import re
import subprocess

import torch

from benchmarks.device import CudaDevice, Device, cpu_model
from benchmarks.memory import ROOT
from bt_kernels import __version__
from bt_kernels.backends.registry import choose_backend
from bt_kernels.info import build_lines


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_slug(device: Device) -> str:
    name = device.name if isinstance(device, CudaDevice) else f"{device.name} {torch.get_num_threads()} threads"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def describe_machine(device: Device) -> dict:
    return {
        "device": device.name,
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "available_gb": round(device.available_bytes() / 1e9, 2),
        "load_average_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
    }


def describe_versions(device: Device, backend: str, dtype: torch.dtype) -> dict:
    return {
        "bt_kernels": __version__,
        "bt_kernels_backend": choose_backend(backend, device.torch_device, dtype),
        "bt_kernels_build": build_lines(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if isinstance(device, CudaDevice) else None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "python": platform.python_version(),
    }


def git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_commit() -> dict:
    """The commit, and whether the tree differs from it anywhere but in the benchmarks' own results."""
    changes = git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}
