"""Peak memory of one forward + backward, or forward alone, beyond the embeddings: gradients included, whatever
allocated it.

On CUDA it is the caching allocator's peak. On a CPU it is the kernel's count of resident bytes (Linux), which sees
every library's allocations: a fresh process per cell, where malloc hands memory back at once, marks the count
before the call and reads its high-water mark after. Each candidate is called once before, so that one-time
allocations (compilation, the BLAS's own buffers, thread stacks) are not charged to it; the slowest are not.

The worker: python -m benchmarks.shared.memory REQUEST, as peak_deltas writes it; one JSON line per candidate.
"""

import ctypes
import gc
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.shared.candidates import Step, build_forward, build_step
from benchmarks.shared.cell import Cell, make_embeddings
from benchmarks.shared.device import CudaDevice, Device
from benchmarks.shared.worker import run_worker

M_MMAP_THRESHOLD = -3
Peaks = dict[str, int | str]  # bytes, or why there is no number


def peak_deltas(
    device: Device,
    cell: Cell,
    steps: dict[str, Step],
    slow: set[str],
    clear: Callable[[], None],
    forward_only: bool = False,
) -> Peaks:
    """Peak bytes per candidate. On CUDA the steps at hand are called; on a CPU a worker builds its own."""
    if isinstance(device, CudaDevice):
        return {name: cuda_peak(device, step, clear) for name, step in steps.items()}
    if not Path("/proc/self/clear_refs").exists():
        return dict.fromkeys(steps, "not measured: needs Linux or CUDA")
    request = {
        "cell": cell.as_dict(),
        "calls": {name: 1 if name in slow else 2 for name in steps},
        "threads": torch.get_num_threads(),
        "forward_only": forward_only,
    }
    peaks, ended = run_worker("benchmarks.shared.memory", request)
    return {name: peaks.get(name, f"not measured: {ended}") for name in steps}


def cuda_peak(device: CudaDevice, step: Step, clear: Callable[[], None]) -> int:
    clear()
    device.release()
    torch.cuda.reset_peak_memory_stats(device.torch_device)
    before = torch.cuda.memory_allocated(device.torch_device)
    step()
    torch.cuda.synchronize(device.torch_device)
    return torch.cuda.max_memory_allocated(device.torch_device) - before


def resident_bytes(field: str) -> int:
    """VmRSS or VmHWM of this process."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def resident_peak(step: Step, clear: Callable[[], None], calls: int) -> int:
    for _ in range(calls - 1):
        step()
        clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = resident_bytes("VmRSS")
    step()
    return resident_bytes("VmHWM") - before


def worker(request: dict) -> None:
    # Every block of 64 KiB or more is mapped by itself and returned when freed.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 64 << 10)
    torch.set_num_threads(request["threads"])
    cell = Cell(**request["cell"])
    views = make_embeddings(cell)
    build = build_forward if request["forward_only"] else build_step
    for name, calls in request["calls"].items():
        views.clear()
        peak = resident_peak(build(name, cell, *views), views.clear, calls)
        print(json.dumps({name: peak}), flush=True)


if __name__ == "__main__":
    worker(json.loads(sys.argv[1]))
