"""What a result file says of where and from what its numbers came."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess

import torch

from benchmarks.shared.cell import PRECISIONS, Cell
from benchmarks.shared.correctness import TOLERANCE
from benchmarks.shared.device import CudaDevice, Device, cpu_model
from benchmarks.shared.result_file import ROOT
from bt_kernels import __version__
from bt_kernels.backends.registry import choose_backend
from bt_kernels.info import build_lines


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_slug(device: Device) -> str:
    name = device.name if isinstance(device, CudaDevice) else f"{device.name} {torch.get_num_threads()} threads"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def device_line(device: Device) -> str:
    where = (
        f"CUDA {torch.version.cuda}" if isinstance(device, CudaDevice) else f"{torch.get_num_threads()} threads"
    )
    return f"{device.name}, {where}; torch {torch.__version__}"


def head(benchmark: str, command: str) -> dict:
    """How a result file begins: what was run, when, and at which commit."""
    return {
        "benchmark": benchmark,
        "complete": False,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": describe_commit(),
    }


def describe_run(device: Device, cell: Cell, command: str, limit: float) -> dict:
    """The head of a result file whose cells share that cell's settings; run_cell's reports go into its cells."""
    return {
        **head("loss", command),
        "dtype": cell.dtype,
        "operands": cell.operands,
        "timing": "forward + backward, and forward alone without a gradient; caches flushed, candidates "
        "interleaved; quantiles 20/50/80 %",
        "memory": "peak beyond the embeddings, gradients included",
        "tolerance": TOLERANCE[cell.operands],
        "memory_limit_gb": round(limit / 1e9, 2),
        "machine": describe_machine(device),
        "versions": describe_versions(device, cell),
        "cells": [],
    }


def describe_machine(device: Device) -> dict:
    return {
        "device": device.name,
        **(describe_gpu(device) if isinstance(device, CudaDevice) else {}),
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "available_gb": round(device.available_bytes() / 1e9, 2),
        "load_average_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
    }


def describe_gpu(device: CudaDevice) -> dict:
    found = torch.cuda.get_device_properties(device.torch_device)
    return {
        "multiprocessors": found.multi_processor_count,
        "compute_capability": f"{found.major}.{found.minor}",
        "memory_gb": round(found.total_memory / 1e9, 2),
        "l2_cache_mb": round(found.L2_cache_size / 1e6, 2),
    }


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_versions(device: Device, cell: Cell) -> dict:
    return {
        "bt_kernels": __version__,
        "bt_kernels_backend": choose_backend(cell.backend, device.torch_device, cell.torch_dtype),
        "bt_kernels_build": build_lines(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if isinstance(device, CudaDevice) else None,
        "triton": installed("triton") or installed("pytorch-triton-rocm"),
        "float32_matmul_precision": PRECISIONS[cell.precision],
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
