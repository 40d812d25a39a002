"""What works here and why not: python -m bt_kernels.info."""

import platform
import sys

import torch

from bt_kernels.backends.registry import availabilities, choose_backend
from bt_kernels.build_report import host_module, read_build_report
from bt_kernels.version import __version__


def build_lines() -> list[str]:
    """What setup.py built, with which compilers, against which torch."""
    report, host = read_build_report(), host_module()
    lines = ["C++ ops: not built"]
    if host is not None:
        lines = [
            f"C++ ops: built by {host.compiler()} against torch {report.get('torch', 'unknown')}",
            f"CPU instruction sets: {host.instruction_sets()}",
        ]
    if "cuda_architectures" not in report:
        return [*lines, "CUDA kernels: not built"]
    return [*lines, f"CUDA kernels: built by nvcc {report['nvcc']} for {' '.join(report['cuda_architectures'])}"]


def main() -> int:
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    print(f"bt_kernels {__version__} · torch {torch.__version__} · Python {platform.python_version()}")
    print(f"{platform.platform()} · {torch.get_num_threads()} threads")
    for line in build_lines():
        print(line)
    for device in devices:
        name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
        print(f"\nbackends for embeddings on {device}{name}; auto takes {choose_backend('auto', device)}:")
        for backend, (ok, reason) in availabilities(device).items():
            print(f"  {backend:<6} {'ok' if ok else 'no':<3} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
