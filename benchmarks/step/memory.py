"""Peak memory of a whole training step, weights, gradients and optimizer included, with each loss.

On CUDA it is the caching allocator's peak. On a CPU it is the growth of the resident bytes of a fresh process
since before the network was made (Linux), which sees every library's allocations; less what a compiler left.

The worker: python -m benchmarks.step.memory REQUEST, with REQUEST as cpu_peaks writes it; one JSON line per loss.
"""

import ctypes
import gc
import json
import resource
import sys
from pathlib import Path

import torch

from benchmarks.shared.device import CudaDevice
from benchmarks.shared.memory import M_MMAP_THRESHOLD, resident_bytes
from benchmarks.shared.worker import run_worker
from benchmarks.step.losses import STEP_LOSSES, Loss
from benchmarks.step.model import StepModel, StepSetting

Peaks = dict[str, int | str]  # bytes, or why there is no number
# Address space is more than memory: thread stacks, arenas. What lies between is the measured peak's to judge.
GUARD_BYTES = 2 << 30


def cuda_peak(device: CudaDevice, model: StepModel, loss_of: Loss) -> int:
    """Allocated bytes at the peak of one step, all in all."""
    model.optimizer.zero_grad(set_to_none=True)
    device.release()
    torch.cuda.reset_peak_memory_stats(device.torch_device)
    model.step(loss_of)
    torch.cuda.synchronize(device.torch_device)
    return torch.cuda.max_memory_allocated(device.torch_device)


def cpu_peaks(setting: StepSetting, names: list[str], budget: int | None = None) -> Peaks:
    """Peaks of the named losses, from one fresh process.

    With a budget in bytes the process may not map more than that and GUARD_BYTES beyond what it has at its start
    (RLIMIT_AS); a loss that would has no peak but a sentence.
    """
    if not Path("/proc/self/clear_refs").exists():
        return dict.fromkeys(names, "not measured: needs Linux or CUDA")
    request = {
        "setting": setting.as_dict(),
        "names": names,
        "threads": torch.get_num_threads(),
        "budget": budget,
    }
    peaks, ended = run_worker("benchmarks.step.memory", request)
    return {name: peaks.get(name, ended) for name in names}


def compile_apart(model: StepModel, loss_of: Loss) -> int:
    """Compiles the loss; returns by how many bytes the process has grown since."""
    model.optimizer.zero_grad(set_to_none=True)
    before = resident_bytes("VmRSS")
    views = model.leaves()
    torch.autograd.grad(loss_of(*views), views)
    del views
    trim()
    return resident_bytes("VmRSS") - before


def trim() -> None:
    """Hands freed memory back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def work(request: dict) -> None:
    # Every block of 64 KiB or more is mapped by itself and returned when freed.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 64 << 10)
    torch.set_num_threads(request["threads"])
    setting = StepSetting(**request["setting"])
    before = resident_bytes("VmRSS")
    if request["budget"]:
        limit = resident_bytes("VmSize") + request["budget"] + GUARD_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    model = StepModel(setting)
    model.step(lambda z_a, z_b: (z_a * z_b).mean())  # the optimizer's state and the libraries' buffers
    for name in sorted(request["names"], key=lambda name: STEP_LOSSES[name].compiled):
        loss_of = STEP_LOSSES[name].build(setting.d, torch.device("cpu"), setting.torch_dtype)
        if STEP_LOSSES[name].compiled:
            before += compile_apart(model, loss_of)
        model.optimizer.zero_grad(set_to_none=True)
        trim()
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
        model.step(loss_of)
        print(json.dumps({name: resident_bytes("VmHWM") - before}), flush=True)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
