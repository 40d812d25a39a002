"""One cell, start to end: embeddings, truth, gate, clock, memory; returns what the result file holds."""

import torch

from benchmarks.loss.targets import targets_for, verdicts
from benchmarks.shared.candidates import CANDIDATES, CUDA, FLOOR, TRITON, Step, build_forward, build_step
from benchmarks.shared.cell import Cell, Views, make_embeddings
from benchmarks.shared.correctness import TOLERANCE, Definition, Truth, errors, truth
from benchmarks.shared.device import Device
from benchmarks.shared.limits import CallTimes, does_not_fit
from benchmarks.shared.measure import SLOW_SECONDS, Samples, quantiles, ratio, time_candidates
from benchmarks.shared.memory import peak_deltas
from benchmarks.shared.result_file import first_line
from benchmarks.shared.roofline import Ceilings, Roofline, roofline
from bt_kernels.formulation import choose_formulation

FORWARD_SECONDS = 0.75  # of timing a candidate's forward alone
WARM_UP_AGAIN_BELOW = 1.0  # seconds; on a GPU always, where the first call may compile kernels


def run_cell(
    device: Device,
    cell: Cell,
    names: list[str],
    limit: float,
    call_times: CallTimes,
    ceilings: Ceilings | None = None,
) -> dict:
    """Measures the named candidates. Status of each: ok · skipped or unavailable, with the reason · FAIL."""
    torch._dynamo.reset()
    with cell.products():
        return measure_cell(device, cell, names, limit, call_times, ceilings)


def measure_cell(
    device: Device,
    cell: Cell,
    names: list[str],
    limit: float,
    call_times: CallTimes,
    ceilings: Ceilings | None,
) -> dict:
    report: dict[str, dict] = {}
    result = {
        "n": cell.n,
        "d": cell.d,
        "formulation": choose_formulation(cell.formulation, cell.n, cell.d),
        "embeddings_bytes": cell.embeddings_bytes,
        "candidates": report,
        "ratios": {},
        "targets": [],
    }
    for name in names:
        reason = does_not_fit(name, cell, limit) or call_times.too_slow(name, cell)
        report[name] = {"status": "skipped", "reason": reason} if reason else {"status": "ok"}
    wanted = [name for name in names if report[name]["status"] == "ok"]
    if not wanted:
        return result

    views = make_embeddings(cell)
    truths: dict[Definition, Truth] = {}
    steps: dict[str, Step] = {}
    seconds: dict[str, float] = {}
    for name in wanted:
        definition = CANDIDATES[name].definition
        if definition not in truths:
            truths[definition] = truth(*views, definition)
        try:
            step = build_step(name, cell, *views)
            seconds[name] = pass_gate(device, cell, name, step, views, truths[definition], report[name])
        except Exception as error:  # whatever it is, the others' numbers must not go along
            report[name] = {"status": "unavailable", "reason": first_line(error)}
        if report[name]["status"] == "ok":
            steps[name] = step
    result["truth"] = next(iter(truths.values())).source
    losses = {name: truths[CANDIDATES[name].definition].loss for name in steps}
    del truths

    samples = time_candidates(device, steps, seconds, views.clear)
    views.clear()
    add_times(result, samples)
    if ceilings:
        add_roofline(result, roofline(cell, ceilings))
    for name in steps:
        call_times.record(name, cell, report[name]["ms"]["q50"] / 1e3)
    # A graph's memory is allocated when it is captured, and a replay's is none.
    measured = {name: step for name, step in steps.items() if name != FLOOR and not CANDIDATES[name].graph}
    slow = {name for name in measured if seconds[name] >= SLOW_SECONDS and not CANDIDATES[name].compiled}
    for name, peak in peak_deltas(device, cell, measured, slow, views.clear).items():
        report[name].update({"peak_bytes": peak} if isinstance(peak, int) else {"peak_reason": peak})
    measure_forward(device, cell, views, list(steps), losses, result)
    result["targets"] = verdicts(result, targets_for(cell, device.name))
    return result


def measure_forward(
    device: Device, cell: Cell, views: Views, names: list[str], losses: dict[str, float], result: dict
) -> None:
    """Times the loss alone of those that passed the gate; enters "forward" into their entries and the ratios.

    Not of graphs, which are captured forward and backward, nor of compiled candidates on a GPU, where compiling
    once more would take the time that the other cells need.
    """
    report, steps, seconds = result["candidates"], {}, {}
    for name in names:
        if CANDIDATES[name].graph or (CANDIDATES[name].compiled and cell.on_gpu):
            continue
        entry = report[name]["forward"] = {"status": "ok"}
        try:
            step = build_forward(name, cell, *views)
            found: list[torch.Tensor | None] = []

            def call(step: Step = step, found: list = found) -> None:
                found.append(step())

            seconds[name] = device.time(call)
            if cell.on_gpu or CANDIDATES[name].compiled or seconds[name] < WARM_UP_AGAIN_BELOW:
                seconds[name] = device.time(call)
        except Exception as error:  # as above
            entry.update(status="unavailable", reason=first_line(error))
            continue
        if name != FLOOR:
            entry["loss_error"] = abs(float(found[-1]) - losses[name]) / abs(losses[name])
            if not entry["loss_error"] <= TOLERANCE[cell.operands]:
                entry["status"] = "FAIL"
                continue
        steps[name] = step
    forward = {"candidates": {name: report[name]["forward"] for name in steps}, "ratios": {}}
    add_times(forward, time_candidates(device, steps, seconds, views.clear, FORWARD_SECONDS))
    result["forward_ratios"] = forward["ratios"]
    measured = {name: step for name, step in steps.items() if name != FLOOR}
    slow = {name for name in measured if seconds[name] >= SLOW_SECONDS and not CANDIDATES[name].compiled}
    for name, peak in peak_deltas(device, cell, measured, slow, views.clear, forward_only=True).items():
        report[name]["forward"].update({"peak_bytes": peak} if isinstance(peak, int) else {"peak_reason": peak})


def pass_gate(
    device: Device, cell: Cell, name: str, step: Step, views: Views, expected: Truth, entry: dict
) -> float:
    """Warms up, enters the errors (and FAIL) into the candidate's entry, returns what a call takes about."""
    returned: list[torch.Tensor | None] = []

    def call() -> float:
        views.clear()
        return device.time(lambda: returned.append(step()))

    seconds = call()
    if cell.on_gpu or CANDIDATES[name].compiled or seconds < WARM_UP_AGAIN_BELOW:
        seconds = call()
    if name != FLOOR:
        found = errors(returned[-1], (views.z_a.grad, views.z_b.grad), expected, cell.loss_scale)
        entry.update(loss_error=found.loss, gradient_error=found.gradient)
        if not found.within(cell.operands):
            entry["status"] = "FAIL"
    views.clear()
    return seconds


def add_times(result: dict, samples: Samples) -> None:
    for name, values in samples.items():
        milliseconds = [1e3 * v for v in values if v is not None]
        result["candidates"][name].update(
            rounds=len(milliseconds),
            ms=quantiles(milliseconds)._asdict(),
            samples_ms=[None if v is None else round(1e3 * v, 4) for v in values],
        )
    ours = [name for name in samples if CANDIDATES[name].ours]
    others = [name for name in samples if not CANDIDATES[name].ours]
    pairs = [(us, name) if name == FLOOR else (name, us) for us in ours for name in others]
    pairs += [(TRITON.called, CUDA.called), (TRITON.graph, CUDA.graph)]
    for over, under in pairs:
        if found := ratio(samples, over, under):
            result["ratios"][f"{over}/{under}"] = found._asdict()


def add_roofline(result: dict, floor: Roofline) -> None:
    result["roofline"] = floor._asdict()
    for name, entry in result["candidates"].items():
        if CANDIDATES[name].ours and (times := entry.get("ms")):
            result["ratios"][f"{name}/roofline"] = {q: value / floor.ms for q, value in times.items()}
