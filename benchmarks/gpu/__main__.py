"""The whole measurement on a GPU, unattended, within a time budget: python -m benchmarks.gpu --help.

Both GPU backends beside each other, as far as they work here, and at the end which of them is faster where: "auto"
is to choose by that. One process, one result file per type of operands: loss-DEVICE-bfloat16.json and so on. The
cells that targets are set for come first, then the axes D and N in bfloat16, then float32. A file is written after
every cell, so whatever stops the run leaves what was measured, marked as not complete.
"""

import argparse
import dataclasses
import gc
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import choice
from benchmarks.loss import table
from benchmarks.loss.axes import BETWEEN, D_AXIS, D_AXIS_N, N_AXIS, N_AXIS_D, PEERS
from benchmarks.loss.plots.draw import draw
from benchmarks.loss.run_cell import run_cell
from benchmarks.loss.targets import GPU_GOALS
from benchmarks.shared import machine, result_file
from benchmarks.shared.candidates import AS_ASKED, CANDIDATES, GPU_BACKENDS, Contender, applies
from benchmarks.shared.cell import Cell, of_operands
from benchmarks.shared.command import Command, say
from benchmarks.shared.correctness import check_truth
from benchmarks.shared.device import CudaDevice, Device
from benchmarks.shared.limits import CallTimes, memory_limit
from benchmarks.shared.roofline import Ceilings, measure_ceilings
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.backends.stages import Availability

DTYPES = ("bfloat16", "tf32", "float32")
FLOAT32_CELLS = [(256, 8192), (1024, 8192), (4096, 8192), (8192, 4096)]
# Seconds that a cell is taken to last for each of its candidates until one of its kind has been measured.
# torch.compile takes most of them, and no more than a share of the budget, which keeps the rest for the axes.
FIRST_GUESS = {"eager": 2.5, "compiled": 9.5}
COMPILING_SHARE = 0.6


class Planned(NamedTuple):
    operands: str
    n: int
    d: int
    compiled: tuple[str, ...] = ()  # compiled candidates to measure


def plan() -> list[Planned]:
    """Most important first."""
    compiled = [name for name, candidate in CANDIDATES.items() if candidate.compiled]
    wanted = [
        *(
            Planned("bfloat16", n, d, tuple(name for name in compiled if getattr(goal, name) is not None))
            for (n, d), goal in GPU_GOALS.items()
        ),
        *(Planned("tf32", n, d) for n, d in FLOAT32_CELLS),
        Planned("bfloat16", D_AXIS_N, D_AXIS[-1]),
        *(Planned("bfloat16", D_AXIS_N, d) for d in D_AXIS),
        *(Planned("bfloat16", n, N_AXIS_D) for n in N_AXIS),
        *(Planned("float32", n, d) for n, d in FLOAT32_CELLS),
        *(Planned("bfloat16", n, d) for n, d in BETWEEN),
    ]
    first: dict[tuple, Planned] = {}
    for step in wanted:
        first.setdefault(step[:3], step)
    return list(first.values())


class TimeBudget:
    """Says whether a cell still fits: a candidate takes as long as in the longest cell of that kind so far."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._started = seconds, clock, clock()
        self._longest: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        return self._clock() - self._started

    def fits(self, kind: str, candidates: int, share: float = 1.0) -> bool:
        expected = candidates * self._longest.get(kind, FIRST_GUESS[kind])
        return self.elapsed + expected <= share * self._seconds

    @contextmanager
    def measuring(self, kind: str, candidates: int) -> Iterator[None]:
        before = self.elapsed
        yield
        self._longest[kind] = max(self._longest.get(kind, 0.0), (self.elapsed - before) / candidates)


@dataclasses.dataclass
class Run:
    """What goes into one result file."""

    template: Cell
    limit: float
    ceilings: Ceilings | None
    backends: dict[Contender, Availability]
    result: dict
    output: Path
    call_times: CallTimes = dataclasses.field(default_factory=CallTimes)

    @property
    def contenders(self) -> list[Contender]:
        """Those that work here."""
        return [contender for contender, availability in self.backends.items() if availability.ok]

    def write(self) -> None:
        result_file.write(self.output, self.result)


def available(device: Device, cell: Cell, wanted: list[str]) -> dict[Contender, Availability]:
    """Of the GPU backends, whether they can be measured here and why not."""
    return {
        contender: BACKENDS[contender.backend].availability(device.torch_device, cell.torch_dtype)
        if contender.backend in wanted
        else Availability(False, "not asked for")
        for contender in GPU_BACKENDS
    }


def open_run(device: CudaDevice, operands: str, backends: list[str], command: str, folder: Path) -> Run:
    template = Cell(0, 0, device=str(device.torch_device), **of_operands(operands))
    limit = memory_limit(device, None)
    ceilings = measure_ceilings(device, template)
    found = available(device, template, backends)
    result = machine.describe_run(device, template, command, limit)
    result["backends"] = {contender.backend: answer._asdict() for contender, answer in found.items()}
    result.update(ceilings=ceilings._asdict(), errors=[], not_measured=[])
    output = folder / f"loss-{machine.device_slug(device)}-{operands}.json"
    return Run(template, limit, ceilings, found, result, output)


def names_for(step: Planned, cell: Cell, contenders: list[Contender]) -> list[str]:
    """The peers' formulas are the official one with as many passes or more, and what "auto" takes is one of the
    backends: neither is waited for here. benchmarks.loss has them, on a GPU too."""
    left_out = {*PEERS, AS_ASKED.called, AS_ASKED.graph}
    return [
        name
        for name, candidate in CANDIDATES.items()
        if name not in left_out
        and applies(name, cell)
        and (not candidate.ours or candidate.contender in contenders)
        and (not candidate.compiled or name in step.compiled)
    ]


def measure(device: Device, steps: list[Planned], runs: dict[str, Run], budget: TimeBudget) -> None:
    for index, step in enumerate(steps, 1):
        run = runs[step.operands]
        cell = dataclasses.replace(run.template, n=step.n, d=step.d)
        names = names_for(step, cell, run.contenders)
        eager = [name for name in names if name not in step.compiled]
        if not budget.fits("eager", len(eager)):
            run.result["not_measured"].append([step.n, step.d])
            run.write()
            continue
        compiles = bool(step.compiled) and budget.fits("compiled", len(names), COMPILING_SHARE)
        now = names if compiles else eager
        where = f"[{index}/{len(steps)}, {budget.elapsed:.0f} s] {step.operands} N = {step.n}, D = {step.d}"
        try:
            with budget.measuring("compiled" if compiles else "eager", len(now)):
                found = run_cell(device, cell, now, run.limit, run.call_times, run.ceilings)
                # Compiled functions hold each other, and with them buffers on the GPU.
                gc.collect()
                device.release()
        except Exception as error:  # must not take the other cells along
            run.result["errors"].append({"n": step.n, "d": step.d, "error": result_file.first_line(error)})
            say(f"{where}: {result_file.first_line(error)}")
        else:
            for name in [name for name in names if name not in now]:
                found["candidates"][name] = {"status": "skipped", "reason": "no time left to compile it"}
            run.result["cells"].append(found)
            say(f"{where}: {', '.join(our_times(found['candidates']))} ms")
        run.write()


def our_times(entries: dict[str, dict]) -> list[str]:
    ours = {name: entry for name, entry in entries.items() if CANDIDATES[name].ours}
    return [f"{table.HEADS[name]} {table.time_text(entry)}" for name, entry in ours.items()]


def finish(runs: dict[str, Run], budget: TimeBudget) -> int:
    """Marks what is complete, draws the plots, prints the tables, returns the exit status."""
    for run in runs.values():
        result = run.result
        result["cells"].sort(key=lambda cell: (cell["n"], cell["d"]))
        complete = bool(result["cells"]) and not (result["errors"] or result["not_measured"])
        result.update(complete=complete, seconds=round(budget.elapsed, 1))
        run.write()
        print("\n".join(lines(run)))
    print("\n".join(choice.lines({operands: run.result["cells"] for operands, run in runs.items()})))
    try:
        if "bfloat16" in runs:  # the one with axes
            draw(runs["bfloat16"].result, runs["bfloat16"].output)
    except ImportError as error:
        say(f"no plots: {error} (pip install matplotlib)")
    print(f"\n{budget.elapsed:.0f} s; wrote {', '.join(str(run.output) for run in runs.values())}")
    cells = [cell for run in runs.values() for cell in run.result["cells"]]
    ours = [entry for cell in cells for name, entry in cell["candidates"].items() if CANDIDATES[name].ours]
    errors = any(run.result["errors"] for run in runs.values())
    broken = any(entry["status"] in ("FAIL", "unavailable") for entry in ours)
    return 1 if errors or broken or not ours else 0


def lines(run: Run) -> list[str]:
    """What is missing and why, a table for each backend, the targets."""
    cells, ceilings = run.result["cells"], run.ceilings
    found = [f"\n{run.template.operands}"]
    if ceilings:
        rates = f"{ceilings.flops_per_second / 1e12:.0f} TFLOP/s, {ceilings.bytes_per_second / 1e12:.2f} TB/s"
        found[0] += f"; measured ceilings {rates}"
    found += [f"  {c.backend} backend: not measured, {a.reason}" for c, a in run.backends.items() if not a.ok]
    found += [f"  {line}" for line in table.empty_lines(cells)]
    found += [f"  N = {e['n']}, D = {e['d']}: {e['error']}" for e in run.result["errors"]]
    found += [f"  N = {n}, D = {d}: no time left" for n, d in run.result["not_measured"]]
    names = [name for name in CANDIDATES if any(name in cell["candidates"] for cell in cells)]
    for contender in run.contenders:
        shown = table.columns(names, contender, baselines=contender == run.contenders[0])
        found += [table.header(shown), *(table.row(cell, shown) for cell in cells)]
    return found + table.target_lines(cells)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "gpu",
        "Times forward + backward of the Barlow Twins loss on a GPU, with the triton and the cuda backend "
        "beside each other and the baselines, in bfloat16, tf32 and float32: the shapes that targets are set "
        "for, D up to 1048576 and N up to 8192. Writes a JSON file for each dtype, and beside it a CSV file and "
        "plots, and says which backend is faster where.",
        {
            "": "everything, as far as it goes in 450 seconds",
            "--dtype bfloat16 --backend triton --seconds 120": "a part of it",
        },
        "0 measured; 1 a backend computes wrong numbers or fails somewhere, or none works here; 2 no GPU. A "
        "backend that is not available is left out, with the reason. Baselines that lose too many digits in 16 "
        "bits are marked FAIL and change nothing else.",
    )
    backends = [contender.backend for contender in GPU_BACKENDS]
    parser.dtype(DTYPES, list(DTYPES), several=True)
    parser.backend(backends, backends, several=True)
    parser.device("cuda", words="cuda or cuda:1")
    parser.seconds(450, "time budget in seconds: no shape is begun that would end later")
    parser.option("output", "where the result files go", result_file.RESULTS, "benchmarks/results",
                  type=result_file.path, metavar="FOLDER")  # fmt: skip
    options = parser.parse_args(arguments)
    options.command = parser.line(arguments)
    options.opened = parser.open_device(options)
    if not isinstance(options.opened, CudaDevice):
        parser.error(f"--device {options.device}: this is the measurement on a GPU; see python -m benchmarks.loss")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    budget, device = TimeBudget(options.seconds), options.opened
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor")
    check_truth(device.torch_device)
    print(f"{machine.device_line(device)}; forward + backward", flush=True)
    runs = {
        operands: open_run(device, operands, options.backend, options.command, options.output)
        for operands in options.dtype
    }
    steps = [step for step in plan() if step.operands in runs and runs[step.operands].contenders]
    measure(device, steps, runs, budget)
    return finish(runs, budget)


if __name__ == "__main__":
    sys.exit(main())
