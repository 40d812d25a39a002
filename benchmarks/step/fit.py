"""The largest batch and the largest D whose training step fits in memory, by doubling and bisection."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch

from benchmarks.shared.device import CudaDevice, Device
from benchmarks.step.losses import STEP_LOSSES
from benchmarks.step.memory import cpu_peaks
from benchmarks.step.model import StepModel, StepSetting

FINENESS = 16  # bisection ends within a sixteenth
MOST = {"batch": 1 << 16, "d": 1 << 20}
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "MemoryError", "Cannot allocate memory")


class Largest(NamedTuple):
    value: int  # 0: not even the smallest
    does_not_fit: int | None  # the smallest that was seen not to; None: the search's end was reached
    tries: int


def largest(fits: Callable[[int], bool], start: int, grain: int, most: int) -> Largest:
    """The largest multiple of grain that fits, to a sixteenth; what fits is taken to be all below what does.

    Args:
        fits: Whether a value does.
        start: Where doubling, or halving, begins: a multiple of grain.
        grain: The difference that counts.
        most: No larger value is tried.
    """
    tries, low, high = 0, 0, None
    value = start
    while grain <= value <= most:
        tries += 1
        if fits(value):
            low = value
            if high is not None:
                break
            value *= 2
        else:
            high = value
            if low:
                break
            value = value // 2 // grain * grain
    while low and high is not None and high - low > max(grain, low // FINENESS):
        middle = (low + high) // 2 // grain * grain
        if middle <= low:
            break
        tries += 1
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Largest(low, high, tries)


def fits_on_gpu(device: CudaDevice, setting: StepSetting, name: str) -> bool:
    """Whether two steps run: the optimizer's state is there from the second on."""
    try:
        model = StepModel(setting)
        loss_of = STEP_LOSSES[name].build(setting.d, device.torch_device, setting.torch_dtype)
        for _ in range(2):
            model.step(loss_of)
        torch.cuda.synchronize(device.torch_device)
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        model = None
        gc.collect()
        device.release()
    return True


def fits_in_budget(budget: int, setting: StepSetting, name: str) -> bool:
    """Whether the step's measured peak in a fresh process is within the budget in bytes.

    Raises:
        RuntimeError: the process failed for another reason than memory.
    """
    peak = cpu_peaks(setting, [name], budget)[name]
    if isinstance(peak, int):
        return peak <= budget
    # SIGKILL is the kernel's out-of-memory killer; SIGABRT, a library that could not allocate.
    if any(word in peak for word in OUT_OF_MEMORY) or peak.startswith(("worker exit -9,", "worker exit -6,")):
        return False
    raise RuntimeError(f"the training step with {name} failed: {peak}")


def search(device: Device, setting: StepSetting, name: str, axis: str, budget: int | None) -> dict:
    """The largest batch ("batch") or D ("d"), the other as the setting has it; what a result file holds of it."""
    grain = {"batch": 2, "d": 64}[axis]
    start = max(grain, getattr(setting, axis) // grain * grain)

    def fits(value: int) -> bool:
        tried = replace(setting, **{axis: value})
        if isinstance(device, CudaDevice):
            return fits_on_gpu(device, tried, name)
        return fits_in_budget(budget, tried, name)

    return largest(fits, start, grain, MOST[axis])._asdict()
