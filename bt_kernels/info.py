"""What works here and why not: python -m bt_kernels.info, or bt-info."""

import argparse
import platform
import sys
from collections.abc import Sequence

import torch

from bt_kernels.backends import triton
from bt_kernels.backends.registry import as_device, available_backends
from bt_kernels.backends.stages import Availability
from bt_kernels.build_report import host_module, read_build_report
from bt_kernels.version import __version__


def build_lines() -> list[str]:
    """What setup.py built, with which compilers, against which torch."""
    report, host = read_build_report(), host_module()
    lines = ["C++ ops: not built"]
    if "compiler" in report:
        compiler = host.compiler() if host else report["compiler"]
        lines = [f"C++ ops: built by {compiler} against torch {report['torch']}"]
    if host is not None:
        lines.append(f"CPU instruction sets: {host.instruction_sets()}")
    if "cuda_architectures" not in report:
        return [*lines, "CUDA kernels: not built"]
    return [*lines, f"CUDA kernels: built by nvcc {report['nvcc']} for {' '.join(report['cuda_architectures'])}"]


def device_lines(device: torch.device) -> list[str]:
    """Every backend in the order that "auto" tries, and which one it takes."""
    backends = available_backends(device)
    taken = next((name for name, found in backends.items() if found.ok), "none")
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return [
        f"backends for embeddings on {device}{name}; auto takes {taken}:",
        *(f"  {name:<6} {word(found):<5} {found.reason}" for name, found in backends.items()),
    ]


def word(found: Availability) -> str:
    return "ok" if found.ok else "fault" if found.fault else "no"


def main(arguments: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(description="What of bt_kernels works here, and why not.").parse_args(arguments)
    devices = dict.fromkeys((torch.device("cpu"), as_device(None)))
    print(f"bt_kernels {__version__} · torch {torch.__version__} · Python {platform.python_version()}")
    print(f"{platform.platform()} · {torch.get_num_threads()} threads")
    for line in build_lines():
        print(line)
    loaded = triton.load()  # on a machine without a GPU, no backend's line would say what is wrong with it
    print(f"fault: {loaded.reason}" if loaded.fault else loaded.reason)
    for device in devices:
        print("", *device_lines(device), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
