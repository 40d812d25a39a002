"""One cell of the training-step benchmark: a network, all losses in turn; what the result file holds of it."""

import gc
import time
from collections.abc import Callable

import torch

from benchmarks.device import CpuDevice, CudaDevice, Device
from benchmarks.measure import Quantiles, Samples, quantiles, ratio, time_candidates
from benchmarks.step_losses import OURS, STEP_LOSSES, Loss
from benchmarks.step_memory import cpu_peaks, cuda_peak
from benchmarks.step_model import StepModel, StepSetting
from benchmarks.step_truth import Gate

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


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


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
    losses = pass_gate(device, setting, views, report)
    for name in list(losses):  # the first step also makes the optimizer's state
        report[name] |= attempt(lambda name=name: first_step(device, model, losses[name]))
        if report[name]["status"] != "ok":
            del losses[name]
            model.optimizer.zero_grad(set_to_none=True)
            device.release()
    time_losses(device, views, losses, report)
    views = None
    time_steps(device, model, losses, report, cell, seconds)
    if isinstance(device, CudaDevice):
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


def pass_gate(device: Device, setting: StepSetting, views: tuple, report: dict[str, dict]) -> dict[str, Loss]:
    """The losses that are right on these embeddings; enters the errors of all into the report."""
    gate = Gate(*views)
    losses: dict[str, Loss] = {}
    for name in report:
        loss_of = STEP_LOSSES[name].build(setting.d, device.torch_device, setting.torch_dtype)
        report[name] = attempt(lambda loss_of=loss_of, name=name: gate_entry(gate, setting, name, loss_of))
        if report[name]["status"] == "ok":
            losses[name] = loss_of
        device.release()
    return losses


def gate_entry(gate: Gate, setting: StepSetting, name: str, loss_of: Loss) -> dict:
    found = gate.errors(name, loss_of)
    status = "ok" if found.within(setting.dtype) else "FAIL"
    return {"status": status, "loss_error": found.loss, "gradient_error": found.gradient}


def first_step(device: Device, model: StepModel, loss_of: Loss) -> dict:
    device.time(lambda: model.step(loss_of))
    return {"status": "ok"}


def time_losses(device: Device, views: tuple, losses: dict[str, Loss], report: dict[str, dict]) -> None:
    """Forward and backward of the losses alone, at the network's embeddings."""

    def call(loss_of: Loss) -> Callable[[], object]:
        return lambda: loss_of(*views).backward()

    def clear() -> None:
        for z in views:
            z.grad = None

    calls = {name: call(loss_of) for name, loss_of in losses.items()}
    expected = {}
    for name in calls:
        clear()
        expected[name] = device.time(calls[name])
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
