"""The benchmark of a whole training step with each loss: python -m benchmarks.step --help."""

import argparse
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import Cell
from benchmarks.shared.command import Command, at_least, say
from benchmarks.shared.correctness import TOLERANCE
from benchmarks.shared.device import CpuDevice, CudaDevice
from benchmarks.step import fit, table
from benchmarks.step.cell import measure_cell
from benchmarks.step.losses import OURS, STEP_LOSSES
from benchmarks.step.memory import GUARD_BYTES
from benchmarks.step.model import StepSetting
from bt_kernels.trainer.errors import TrainerError

DEFAULTS = {
    "cpu": {"n": 64, "d": [512, 2048, 8192], "image_size": 32, "dtype": "float32", "seconds": 330.0},
    "cuda": {"n": 256, "d": [8192, 32768], "image_size": 224, "dtype": "bfloat16", "seconds": 450.0},
}
# Of --seconds: what the clock of whole steps gets. The rest is building, compiling, checking and peak memory, and
# on a GPU the search for what fits.
CLOCK_SHARE = {"cpu": 0.4, "cuda": 0.2}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "step",
        "Times a training step (two views through a ResNet and its projector, loss, backward and LARS) with "
        "bt_kernels and with the losses that others use: the loss's share of the step, its peak memory, and the "
        "largest N and D that fit. Checks every loss against float64 first. Writes a JSON file, and beside it a "
        "CSV file and a plot.",
        {
            "": "ResNet-50; some six minutes on two CPU cores",
            "--n 64 --d 8192 --losses bt_kernels official": "one D, two losses",
            "--fit batch --max-memory 8": "and on a CPU the largest batch within 8 GB",
        },
        "0 measured; 1 a loss computes wrong numbers or bt_kernels could not run; 2 bad arguments.",
    )
    parser.n(shown="64; on a GPU 256", words="N, the batch size, of two views each")
    parser.d(several=True, shown="512 2048 8192; on a GPU 8192 32768", least=2)
    width = {"type": at_least(2), "metavar": "H"}
    parser.option("hidden", "width of the projector before D", None, "D, but at most 8192", **width)
    parser.option(
        "image-size", "width and height of the images, in pixels", None, "32; on a GPU 224", type=int, metavar="PX"
    )
    parser.option("network", "the backbone", "resnet50", choices=("resnet50", "resnet18"))
    parser.dtype(("float32", "bfloat16"), shown="float32; on a GPU bfloat16, which is autocast")
    channels = {"action": argparse.BooleanOptionalAction}
    parser.option("channels-last", "memory format of the images", True, "yes", **channels)
    parser.option("losses", "which are timed", list(STEP_LOSSES), "all", choices=STEP_LOSSES, nargs="+")
    parser.device()
    parser.threads()
    fitted = {"choices": fit.MOST, "nargs": "*"}
    parser.option(
        "fit", "search the largest batch and D that fit", None, "both; on a CPU with --max-memory alone", **fitted
    )
    parser.max_memory("on a CPU what --fit may take, as the peak of a fresh process", "no search")
    parser.seconds(None, "for all of it, roughly, in seconds; no search is begun later", "330; on a GPU 450")
    parser.output("benchmarks/results/step-DEVICE.json")
    options = parser.parse_args(arguments)
    options.command = parser.line(arguments)
    options.opened = parser.open_device(options)
    on_cpu = isinstance(options.opened, CpuDevice)
    for name, value in DEFAULTS["cpu" if on_cpu else "cuda"].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    check_fit(parser, options, on_cpu)
    options.setting = StepSetting(
        options.n,
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


def check_fit(parser: Command, options: argparse.Namespace, on_cpu: bool) -> None:
    """Completes --fit; refuses a --max-memory that would bring the machine down."""
    if options.max_memory is not None:
        available = options.opened.available_bytes()
        if not on_cpu:
            parser.error("--max-memory: only on a CPU; on a GPU its memory is the budget")
        if not 1e9 * options.max_memory <= 0.8 * available - GUARD_BYTES:
            most = max(0.0, (0.8 * available - GUARD_BYTES) / 1e9)
            parser.error(f"--max-memory: expected at most {most:.1f} GB here, got {options.max_memory:g}")
    elif on_cpu and options.fit:
        parser.error("--fit: on a CPU it needs a budget, --max-memory")
    if options.fit is None:
        options.fit = [] if on_cpu and options.max_memory is None else list(fit.MOST)


def head(options: argparse.Namespace) -> dict:
    device, setting = options.opened, options.setting
    cell = Cell(setting.batch, setting.d, setting.dtype, setting.device)
    return {
        **machine.head("step", options.command),
        "dtype": setting.dtype,
        "timing": "two views forward, loss, backward, LARS; losses interleaved; quantiles 20/50/80 %. loss_ms: "
        "forward + backward of the loss alone, at the network's embeddings",
        "memory": "allocator's peak of a step, all in all"
        if isinstance(device, CudaDevice)
        else "peak resident bytes of a fresh process during a step, less those before the network was made",
        "tolerance": TOLERANCE[setting.dtype],
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, cell),
        "cells": [],
        "largest": {},
    }


def write(output: Path, result: dict) -> None:
    result_file.write_json(output, result)
    table.write_csv(output.with_suffix(".csv"), result)


def search(options: argparse.Namespace, result: dict, output: Path, started: float) -> None:
    """The largest batch and D, of every loss that is not compiled anew for each."""
    budget = int(1e9 * options.max_memory) if options.max_memory else None
    names = [name for name in options.losses if not STEP_LOSSES[name].compiled]
    result["memory_budget_gb"] = options.max_memory
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
    options = parse(sys.argv[1:] if arguments is None else arguments)
    device, started = options.opened, time.monotonic()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor")  # the compiler's own
    result = head(options)
    output = options.output or result_file.RESULTS / f"step-{machine.device_slug(device)}.json"
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
