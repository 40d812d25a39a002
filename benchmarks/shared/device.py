"""The few things that differ between a CPU and a GPU: time one call, flush the caches, memory, names."""

import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

CPU_CACHE_DEFAULT = 64 << 20


class CpuDevice:
    """The CPU, with all threads that torch was given."""

    max_rounds = 40  # of timing a candidate

    def __init__(self) -> None:
        self.torch_device = torch.device("cpu")
        self.name = cpu_model()
        # Twice the last level: what was there before is gone once this has been read and written.
        self._flush = torch.zeros(2 * last_level_cache() // 4)

    def time(self, call: Callable[[], object]) -> float:
        """Seconds of one call, caches flushed before."""
        self._flush.add_(1)
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def available_bytes(self) -> int:
        try:
            meminfo = Path("/proc/meminfo").read_text()
        except OSError:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        return 1024 * int(re.search(r"MemAvailable:\s+(\d+)", meminfo)[1])

    def release(self) -> None:
        """Gives memory back that is no longer used: on the CPU it already was."""


class CudaDevice:
    """One CUDA (or ROCm) device. Times come from events on the current stream."""

    max_rounds = 100  # calls are short, and their times scatter

    def __init__(self, device: torch.device) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError("--device cuda: torch finds no CUDA device here")
        self.torch_device = device
        torch.cuda.set_device(device)
        properties = torch.cuda.get_device_properties(device)
        self.name = properties.name
        self.l2_bytes = max(properties.L2_cache_size, 32 << 20)
        self._flush = torch.zeros(2 * self.l2_bytes // 4, device=device)

    def time(self, call: Callable[[], object]) -> float:
        """Seconds of one call on the GPU, L2 flushed before.

        The clock starts when the GPU has done the flush. Meanwhile the host issues the first launches, as it does
        in a training step, where the GPU is busy with the network before the loss; a call of many short kernels
        still waits for the host, and that is in the time.
        """
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.torch_device)
        self._flush.add_(1)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize(self.torch_device)
        return start.elapsed_time(end) / 1e3

    def available_bytes(self) -> int:
        self.release()
        return torch.cuda.mem_get_info(self.torch_device)[0]

    def release(self) -> None:
        """Gives cached blocks back to the driver."""
        torch.cuda.synchronize(self.torch_device)
        torch.cuda.empty_cache()


Device = CpuDevice | CudaDevice


def open_device(name: str) -> Device:
    """Raises RuntimeError with the reason when the device cannot be used."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RuntimeError(f"--device {name}: {str(error).splitlines()[0]}") from None
    if device.type == "cpu":
        return CpuDevice()
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", 0)
        return CudaDevice(device)
    raise RuntimeError(f"--device {name}: only cpu and cuda are measured")


def cpu_model() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def last_level_cache() -> int:
    """Bytes of the first core's largest cache."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG])", path.read_text().strip())
        if found:
            sizes.append(int(found[1]) * units[found[2]])
    return max(sizes, default=CPU_CACHE_DEFAULT)
