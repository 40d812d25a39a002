"""The benchmark of a whole training step with each loss: python -m benchmarks.step --help."""

import argparse
import datetime
import shlex
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.loss.__main__ import RESULTS, say
from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import Cell
from benchmarks.shared.correctness import TOLERANCE
from benchmarks.shared.device import CpuDevice, CudaDevice, open_device
from benchmarks.step import fit, table
from benchmarks.step.cell import measure_cell
from benchmarks.step.losses import OURS, STEP_LOSSES
from benchmarks.step.memory import GUARD_BYTES
from benchmarks.step.model import StepSetting
from bt_kernels.trainer.errors import TrainerError

DEFAULTS = {
    "cpu": {"batch": 64, "d": [512, 2048, 8192], "image_size": 32, "dtype": "float32", "seconds": 330.0},
    "cuda": {"batch": 256, "d": [8192, 32768], "image_size": 224, "dtype": "bfloat16", "seconds": 450.0},
}
# Of --seconds: what the clock of whole steps gets. The rest is building, compiling, checking and peak memory, and
# on a GPU the search for what fits.
CLOCK_SHARE = {"cpu": 0.4, "cuda": 0.2}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step",
        description="Times a training step, two views through a ResNet and its projector, loss, backward and "
        "LARS, with bt_kernels and with the losses that others use; the loss's share of it, its peak memory, and "
        "the largest batch and D that fit. Every loss is checked against float64 first. Writes a JSON and a CSV "
        "file and a plot.",
        epilog="Exit status: 0 measured; 1 a loss computes wrong numbers or bt_kernels could not run; 2 bad "
        "arguments.",
    )
    add = parser.add_argument
    add("--batch", type=int, metavar="N", help="images, of two views each (default 64; on a GPU 256)")
    add("--d", type=int, nargs="+", metavar="D", help="features (default 512 2048 8192; on a GPU 8192 32768)")
    add("--hidden", type=int, metavar="H", help="width of the projector before D (default D, but at most 8192)")
    add("--image-size", type=int, metavar="S", help="pixels (default 32; on a GPU 224)")
    add("--network", choices=("resnet50", "resnet18"), default="resnet50", help="default %(default)s")
    add("--dtype", choices=("float32", "bfloat16"), help="bfloat16: autocast (default float32; on a GPU bfloat16)")
    add("--channels-last", action=argparse.BooleanOptionalAction, default=True, help="memory format (default yes)")
    add("--losses", choices=STEP_LOSSES, nargs="+", default=list(STEP_LOSSES), help="default: all")
    add("--device", help="cpu, cuda or cuda:1 (default: cuda if there is one, else cpu)")
    add("--threads", type=int, help="CPU threads (default: torch's own choice)")
    add(
        "--fit",
        choices=fit.MOST,
        nargs="*",
        help="search the largest (default: both; on a CPU with --memory)",
    )
    add(
        "--memory", type=float, metavar="GB", help="on a CPU: the budget of --fit, for the peak of a fresh process"
    )
    add("--seconds", type=float, help="roughly, for all (default 330; on a GPU 450); no search is begun later")
    add(
        "--output",
        type=result_file.json_path,
        metavar="RESULT.json",
        help="default benchmarks/results/step-DEVICE.json",
    )
    options = parser.parse_args(arguments)
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads: expected a number >= 1, got {options.threads}")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.opened = open_device(options.device)
    except RuntimeError as error:
        parser.error(str(error))
    on_cpu = isinstance(options.opened, CpuDevice)
    for name, value in DEFAULTS["cpu" if on_cpu else "cuda"].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name, values in (("batch", [options.batch]), ("d", options.d), ("hidden", [options.hidden])):
        if any(value is not None and value < 2 for value in values):
            parser.error(f"--{name}: expected a number >= 2, got {min(v for v in values if v is not None)}")
    if not options.seconds > 0:
        parser.error(f"--seconds: expected a number > 0, got {options.seconds}")
    check_fit(parser, options, on_cpu)
    options.setting = StepSetting(
        options.batch,
        options.d[0],
        options.hidden,
        options.network,
        options.image_size,
        options.dtype,
        str(options.opened.torch_device),
        options.channels_last,
    )
    try:
        options.setting.config()
    except TrainerError as error:
        parser.error(str(error))
    return options


def check_fit(parser: argparse.ArgumentParser, options: argparse.Namespace, on_cpu: bool) -> None:
    """Completes --fit; refuses a --memory that would bring the machine down."""
    if options.memory is not None:
        available = options.opened.available_bytes()
        if not on_cpu:
            parser.error("--memory: only on a CPU; on a GPU its memory is the budget")
        if not 0 < 1e9 * options.memory <= 0.8 * available - GUARD_BYTES:
            most = max(0.0, (0.8 * available - GUARD_BYTES) / 1e9)
            parser.error(f"--memory: expected GB > 0 and at most {most:.1f} here, got {options.memory:g}")
    elif on_cpu and options.fit:
        parser.error("--fit: on a CPU it needs a budget, --memory")
    if options.fit is None:
        options.fit = [] if on_cpu and options.memory is None else list(fit.MOST)


def head(options: argparse.Namespace, arguments: list[str]) -> dict:
    device, setting = options.opened, options.setting
    cell = Cell(setting.batch, setting.d, setting.dtype, setting.device)
    return {
        "benchmark": "step",
        "complete": False,
        "dtype": setting.dtype,
        "command": f"python -m benchmarks.step {shlex.join(arguments)}".strip(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "timing": "two views forward, loss, backward, LARS; losses interleaved; quantiles 20/50/80 %. loss_ms: "
        "forward + backward of the loss alone, at the network's embeddings",
        "memory": "allocator's peak of a step, all in all"
        if isinstance(device, CudaDevice)
        else "peak resident bytes of a fresh process during a step, less those before the network was made",
        "tolerance": TOLERANCE[setting.dtype],
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, cell),
        "git": machine.describe_commit(),
        "cells": [],
        "largest": {},
    }


def write(output: Path, result: dict) -> None:
    result_file.write_json(output, result)
    table.write_csv(output.with_suffix(".csv"), result)


def search(options: argparse.Namespace, result: dict, output: Path, started: float) -> None:
    """The largest batch and D, of every loss that is not compiled anew for each."""
    budget = int(1e9 * options.memory) if options.memory else None
    names = [name for name in options.losses if not STEP_LOSSES[name].compiled]
    result["memory_budget_gb"] = options.memory
    for axis in options.fit:
        found = result["largest"][axis] = {}
        for name in names:
            if time.monotonic() - started > options.seconds:
                found[name] = {"status": "skipped", "reason": "the time budget is spent; see --seconds"}
                continue
            say(f"[{time.monotonic() - started:.0f} s] largest {axis} with {name}")
            try:
                found[name] = fit.search(options.opened, options.setting, name, axis, budget)
            except RuntimeError as error:
                found[name] = {"status": "unavailable", "reason": str(error).splitlines()[0]}
            write(output, result)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    device, started = options.opened, time.monotonic()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor")  # the compiler's own
    result = head(options, arguments)
    output = options.output or RESULTS / f"step-{machine.device_slug(device)}.json"
    setting: StepSetting = options.setting
    print(
        f"{machine.device_line(device)}; {setting.network}, {setting.batch} x 2 images of {setting.image_size} px"
    )
    print(table.header(), flush=True)
    share = CLOCK_SHARE[device.torch_device.type]
    for d in sorted(set(options.d)):
        say(f"[{time.monotonic() - started:.0f} s] D = {d}")
        seconds = share * options.seconds / len(set(options.d))
        result["cells"].append(measure_cell(device, replace(setting, d=d), options.losses, seconds))
        print("\n".join(table.rows(result["cells"][-1])), flush=True)
        write(output, result)
        device.release()
    search(options, result, output, started)
    result.update(complete=True, seconds=round(time.monotonic() - started, 1))
    write(output, result)
    if lines := list(table.largest_lines(result["largest"])):
        print("\n".join(["", *lines]))
    written = [output, output.with_suffix(".csv")]
    try:
        from benchmarks.step import plot

        written.append(plot.draw(result, output.with_suffix(".png")))
    except ImportError as error:
        say(f"no plot: {error} (pip install matplotlib)")
    print(f"\n{result['seconds']:.0f} s; wrote {', '.join(str(path) for path in written if path)}")
    return exit_status(result)


def exit_status(result: dict) -> int:
    """1 where a loss is wrong, or bt_kernels did not run."""
    for cell in result["cells"]:
        statuses = {name: entry["status"] for name, entry in cell["candidates"].items()}
        if "FAIL" in statuses.values() or statuses.get(OURS, "ok") == "unavailable":
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
