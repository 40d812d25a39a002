"""The benchmark of the loss, forward + backward: python -m benchmarks.loss --help."""

import argparse
import dataclasses
import sys
import time
import warnings
from pathlib import Path

import torch

from benchmarks.loss import axes, in_all, table
from benchmarks.loss.plots.draw import draw
from benchmarks.loss.run_cell import run_cell
from benchmarks.shared import machine, result_file
from benchmarks.shared.candidates import CANDIDATES, GPU_BACKENDS, applies
from benchmarks.shared.cell import OPERANDS, Cell, of_operands
from benchmarks.shared.command import Command, say
from benchmarks.shared.correctness import check_truth
from benchmarks.shared.device import CpuDevice, CudaDevice
from benchmarks.shared.limits import CallTimes, memory_limit
from benchmarks.shared.roofline import measure_ceilings
from bt_kernels.backends.registry import choose_backend
from bt_kernels.options import FORMULATIONS

QUICK = [(64, 8192), (256, 1024), (256, 8192), (1024, 1024)]  # every target is judged in one of them


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "loss",
        "Times the Barlow Twins loss, forward alone and forward + backward, against the official formula and "
        "the Gram formulation (each eager and compiled), lightly's, solo-learn's and MONAI's formulas and the "
        "bare matrix products, and takes their peak memory. D goes from 512 to 1048576 at N = 256, N from 64 to "
        "8192 at D = 8192, with some shapes between. Checks every candidate against float64 first. Writes a "
        "JSON file, and beside it a CSV file and plots.",
        {
            "": "all shapes; some 25 minutes on two CPU cores",
            "--quick": "some three minutes",
            "--n 256 --d 1024 8192": "two shapes",
            "--dtype bfloat16 --max-memory 4": "in 16 bits, within 4 GB",
        },
        "0 measured; 1 a candidate computes wrong numbers or bt_kernels could not run; 2 bad arguments. A missed "
        "target is marked in the table and changes nothing else: timings depend on the machine.",
    )
    parser.add_argument("--quick", action="store_true", help="four shapes and no peers but the authors")
    parser.n(several=True, shown="all shapes, or 256 with --d")
    parser.d(several=True, shown="all shapes, or 8192 with --n")
    parser.dtype(OPERANDS, "float32")
    parser.backend()
    parser.option("formulation", "of bt_kernels and of the bare products", "auto", choices=FORMULATIONS)
    parser.device()
    parser.threads()
    parser.max_memory("what a candidate may take at most", "12 on a CPU, and no more than 80 % of what is free")
    parser.output("benchmarks/results/loss-DEVICE.json")
    options = parser.parse_args(arguments)
    if options.quick and (options.n or options.d):
        parser.error("--quick has its own cells: leave out --n and --d")
    options.command = parser.line(arguments)
    options.opened = parser.open_device(options)
    if options.dtype == "tf32" and isinstance(options.opened, CpuDevice):
        parser.error("--dtype tf32: only on a GPU")
    kind, settings = str(options.opened.torch_device), of_operands(options.dtype)
    options.cell = Cell(
        in_all.N, in_all.D, device=kind, backend=options.backend, formulation=options.formulation, **settings
    )
    try:
        choose_backend(options.backend, options.opened.torch_device, options.cell.torch_dtype)
    except RuntimeError as error:
        parser.error(str(error))
    return options


def default_output(options: argparse.Namespace) -> Path:
    parts = ["loss", machine.device_slug(options.opened)]
    parts += [getattr(options, name) for name in ("backend", "formulation") if getattr(options, name) != "auto"]
    operands = options.cell.operands
    parts += [operands] if operands != "float32" else []
    parts += ["quick"] if options.quick else ["part"] if options.n or options.d else []
    return result_file.RESULTS / f"{'-'.join(parts)}.json"


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    device, started = options.opened, time.monotonic()
    check_truth(torch.device("cpu"))
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor")  # the compiler's own
    template: Cell = options.cell
    wanted = [name for name, c in CANDIDATES.items() if (c.quick or not options.quick) and applies(name, template)]
    names = [name for name in wanted if CANDIDATES[name].contender not in GPU_BACKENDS]
    grid = QUICK if options.quick else axes.AXES
    if options.n or options.d:
        grid = [
            (n, d)
            for n in sorted({*(options.n or [axes.D_AXIS_N])})
            for d in sorted({*(options.d or [axes.N_AXIS_D])})
        ]
    limit = memory_limit(device, options.max_memory)
    result = machine.describe_run(device, template, options.command, limit)
    output = options.output or default_output(options)
    print(f"{machine.device_line(device)}; {template.operands}; forward + backward")
    ceilings = measure_ceilings(device, template) if isinstance(device, CudaDevice) else None
    if ceilings:
        result["ceilings"] = ceilings._asdict()
    columns = table.columns(names)
    print(table.header(columns), flush=True)
    call_times = CallTimes()
    for index, (n, d) in enumerate(grid, 1):
        say(f"[{index}/{len(grid)}, {time.monotonic() - started:.0f} s] N = {n}, D = {d}")
        here = (
            names
            if options.quick or options.n or options.d
            else [name for name in names if name in axes.wanted(n, d)]
        )
        cell = run_cell(device, dataclasses.replace(template, n=n, d=d), here, limit, call_times, ceilings)
        result["cells"].append(cell)
        print(table.row(cell, columns), flush=True)
        result_file.write(output, result)
        device.release()
    if not (options.n or options.d):
        say(f"[{time.monotonic() - started:.0f} s] N = {in_all.N}, D = {in_all.D}, in a process of its own")
        result["in_all"] = in_all.run_in_all(template, torch.get_num_threads())
        print(table.in_all_line(result["in_all"]))
    result.update(complete=True, seconds=round(time.monotonic() - started, 1))
    result_file.write(output, result)
    return summarise(result, output)


def summarise(result: dict, output: Path) -> int:
    cells = result["cells"]
    for title, lines in (
        ("Not measured:", [f"  {line}" for line in table.empty_lines(cells)]),
        ("Targets:", table.target_lines([*cells, result.get("in_all", {})])),
    ):
        if lines:
            print("\n".join(["", title, *lines]))
    try:
        pictures = draw(result, output)
    except ImportError as error:
        say(f"no plots: {error} (pip install matplotlib)")
        pictures = []
    written = [output, output.with_suffix(".csv"), *pictures]
    print(f"\n{result['seconds']:.0f} s; wrote {', '.join(map(str, written))}")
    entries = [entry for cell in cells for entry in cell["candidates"].values()] + [result.get("in_all", {})]
    entries += [entry["forward"] for entry in entries if "forward" in entry]
    failed = any(entry.get("status") == "FAIL" for entry in entries)
    ours = [cell["candidates"]["bt_kernels"] for cell in cells]
    broken = any("unavailable" in (entry["status"], entry.get("forward", {}).get("status")) for entry in ours)
    return 1 if failed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
