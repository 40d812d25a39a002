"""One cell of the training-step benchmark: a network, all losses in turn; what the result file holds of it."""

import gc
import time
from collections.abc import Callable

import torch

from benchmarks.shared.device import CpuDevice, CudaDevice, Device
from benchmarks.shared.measure import Quantiles, Samples, quantiles, ratio, time_candidates
from benchmarks.shared.result_file import first_line
from benchmarks.step.losses import OURS, STEP_LOSSES, Loss
from benchmarks.step.memory import cpu_peaks, cuda_peak
from benchmarks.step.model import StepModel, StepSetting
from benchmarks.step.truth import Gate

LEAST_ROUNDS, MOST_ROUNDS = 3, 30
SHARE_OF_AVAILABLE = 0.8
WEIGHTS_ALIVE = 4  # of every weight: itself, gradient, momentum, update
SQUARES_ALIVE = 10  # D x D matrices of the most wasteful loss
BACKBONE_WEIGHTS = 26e6


def does_not_fit(device: Device, setting: StepSetting) -> str | None:
    """Why the cell's memory, roughly and rather too much, forbids it on a CPU; a GPU says so by itself."""
    if not isinstance(device, CpuDevice):
        return None
    hidden, _, d = map(int, setting.projector.split("-"))
    weights = BACKBONE_WEIGHTS + 2048 * hidden + hidden**2 + hidden * d
    need, have = 4 * (WEIGHTS_ALIVE * weights + SQUARES_ALIVE * d**2), device.available_bytes()
    if need <= SHARE_OF_AVAILABLE * have:
        return None
    return f"does not fit: needs about {need / 1e9:.3g} GB, {have / 1e9:.3g} GB are free"


def measure_cell(device: Device, setting: StepSetting, names: list[str], seconds: float) -> dict:
    """Status of each loss: ok · skipped or unavailable, with the reason · FAIL. Seconds: for whole steps."""
    torch._dynamo.reset()
    report: dict[str, dict] = {name: {"status": "ok"} for name in names}
    cell = {"n": setting.batch, **setting.as_dict(), "projector": setting.projector}
    cell |= {"candidates": report, "ratios": {}}
    if reason := does_not_fit(device, setting):
        report.update({name: {"status": "skipped", "reason": reason} for name in names})
        return cell
    try:
        model = StepModel(setting)
        views = model.leaves()
    except torch.cuda.OutOfMemoryError as error:
        reason = f"the network does not fit: {first_line(error)}"
        report.update({name: {"status": "skipped", "reason": reason} for name in names})
        return cell
    losses, expected = pass_gate(device, setting, views, report)
    on_gpu = isinstance(device, CudaDevice)
    # The first step also makes the optimizer's state; on a GPU every loss may still run out of memory.
    for name in list(losses) if on_gpu else list(losses)[:1]:
        report[name] |= attempt(lambda name=name: first_step(device, model, losses[name]))
        if report[name]["status"] != "ok":
            del losses[name]
            model.optimizer.zero_grad(set_to_none=True)
            device.release()
    time_losses(device, views, losses, expected, report)
    views = None
    time_steps(device, model, losses, report, cell, seconds)
    if on_gpu:
        for name, loss_of in losses.items():
            report[name]["peak_bytes"] = cuda_peak(device, model, loss_of)
    else:
        del model
        gc.collect()
        for name, peak in cpu_peaks(setting, list(losses)).items():
            report[name] |= {"peak_bytes": peak} if isinstance(peak, int) else {"peak_reason": peak}
    return cell


def attempt(call: Callable[[], dict]) -> dict:
    """What the call returns; or why there are no numbers of this loss."""
    try:
        return call()
    except torch.cuda.OutOfMemoryError as error:
        return {"status": "skipped", "reason": first_line(error)}
    except Exception as error:  # whatever it is, the others' numbers must not go along
        return {"status": "unavailable", "reason": first_line(error)}


def pass_gate(
    device: Device, setting: StepSetting, views: tuple, report: dict[str, dict]
) -> tuple[dict[str, Loss], dict[str, float]]:
    """The losses that are right on these embeddings, and their seconds; enters all errors into the report."""
    gate = Gate(device, *views)
    losses: dict[str, Loss] = {}
    expected: dict[str, float] = {}

    def enter(name: str) -> dict:
        loss_of = STEP_LOSSES[name].build(setting.d, device.torch_device, setting.torch_dtype)
        found, seconds = gate.errors(name, loss_of)
        if found.within(setting.dtype):
            losses[name], expected[name] = loss_of, seconds
        status = "ok" if name in losses else "FAIL"
        return {"status": status, "loss_error": found.loss, "gradient_error": found.gradient}

    for name in report:
        report[name] = attempt(lambda name=name: enter(name))
        device.release()
    return losses, expected


def first_step(device: Device, model: StepModel, loss_of: Loss) -> dict:
    device.time(lambda: model.step(loss_of))
    return {"status": "ok"}


def time_losses(
    device: Device, views: tuple, losses: dict[str, Loss], expected: dict[str, float], report: dict[str, dict]
) -> None:
    """Forward and backward of the losses alone, at the network's embeddings."""

    def call(loss_of: Loss) -> Callable[[], object]:
        return lambda: loss_of(*views).backward()

    def clear() -> None:
        for z in views:
            z.grad = None

    calls = {name: call(loss_of) for name, loss_of in losses.items()}
    for name, values in time_candidates(device, calls, expected, clear).items():
        report[name]["loss_ms"] = milliseconds(values)._asdict()


def milliseconds(values: list[float | None]) -> Quantiles:
    return quantiles([1e3 * value for value in values if value is not None])


def time_steps(
    device: Device, model: StepModel, losses: dict[str, Loss], report: dict[str, dict], cell: dict, seconds: float
) -> None:
    """Whole steps, every loss once a round, in rotated order."""
    names = list(losses)
    samples: Samples = {name: [] for name in names}
    started = time.monotonic()
    gc.collect()
    gc.disable()
    try:
        for r in range(MOST_ROUNDS if names else 0):
            spent = time.monotonic() - started
            if r >= LEAST_ROUNDS and spent + spent / r > seconds:
                break
            start = r % len(names)
            for name in names[start:] + names[:start]:
                samples[name].append(device.time(lambda name=name: model.step(losses[name])))
    finally:
        gc.enable()
    for name in names:
        entry = report[name]
        entry.update(rounds=len(samples[name]), ms=milliseconds(samples[name])._asdict())
        entry["samples_ms"] = [round(1e3 * value, 4) for value in samples[name]]
        entry["loss_share"] = entry["loss_ms"]["q50"] / entry["ms"]["q50"]
        if name != OURS and (found := ratio(samples, name, OURS)):
            cell["ratios"][f"{name}/{OURS}"] = found._asdict()
