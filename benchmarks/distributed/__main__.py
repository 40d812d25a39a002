"""The benchmark of the loss over ranks, forward + backward: python -m benchmarks.distributed --help."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
import torch.multiprocessing as mp

from benchmarks.distributed import model, rank, table
from benchmarks.distributed.rank import Job
from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import DTYPES, Cell
from benchmarks.shared.command import Command, at_least, say
from benchmarks.shared.correctness import TOLERANCE, check_truth
from benchmarks.shared.device import Device, open_device
from benchmarks.shared.limits import memory_limit
from bt_kernels.backends.registry import choose_backend

WORLDS, SHAPES, OPERANDS, REPEATS = [2, 4], [(64, 2048), (64, 8192), (1024, 512)], ["float32", "bfloat16"], 9
QUICK_WORLDS, QUICK_SHAPES, QUICK_OPERANDS, QUICK_REPEATS = [4], [(64, 8192), (1024, 512)], ["float32"], 3
POLL_SECONDS = 0.1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "distributed",
        "Times forward + backward of the loss of a batch that is spread over W processes, in both formulations, "
        "beside the authors' all-reduce of C, and counts the bytes that a rank sends: over gloo on CPUs, over "
        "NCCL with a GPU for each rank. Checks everything against float64 on the joined batch first. Writes a "
        "JSON file.",
        {
            "": "two and four ranks, three shapes, float32 and bfloat16",
            "--quick": "four ranks, two shapes, float32",
            "--world 2 --rows 64 --d 8192": "one shape",
            "--model": "up to 1024 ranks, worked out and not measured",
        },
        "0 measured; 1 a candidate computes wrong numbers; 2 bad arguments. A missed target is marked and changes "
        "nothing else: timings depend on the machine.",
    )
    shapes = ", ".join(f"{rows} at D = {d}" for rows, d in SHAPES)
    parser.add_argument("--quick", action="store_true", help="four ranks, two shapes, float32, three repeats")
    parser.option("world", "W, the number of ranks", None, "2 4", type=at_least(2), nargs="+", metavar="W")
    parser.option(
        "rows",
        "samples of each rank; N is W times as many",
        None,
        shapes,
        type=at_least(1),
        nargs="+",
        metavar="n",
    )
    parser.d(several=True, shown="as --rows says; give both or neither")
    parser.dtype(tuple(DTYPES), several=True, shown="float32 bfloat16")
    parser.backend()
    parser.repeats(
        None, "timed calls of every candidate at a shape", f"{REPEATS}, or {QUICK_REPEATS} with --quick"
    )
    parser.add_argument("--model", action="store_true", help="measure nothing: work out bytes, FLOPs and memory")
    parser.output("benchmarks/results/distributed-DEVICE.json")
    options = parser.parse_args(arguments)
    options.command = parser.line(arguments)
    measured = ("quick", "world", "rows", "d", "dtype", "repeats")
    if options.model and (options.backend != "auto" or any(getattr(options, name) for name in measured)):
        parser.error("--model measures nothing: only --output goes with it")
    if bool(options.rows) != bool(options.d):
        parser.error("--rows and --d: give both or neither")
    if options.quick and any(getattr(options, name) for name in ("world", "rows", "dtype")):
        parser.error("--quick has its own cells: leave out --world, --rows, --d and --dtype")
    if options.model:
        return options
    gpus = torch.cuda.device_count()
    options.device = open_device("cuda" if gpus else "cpu")
    quick = options.quick
    options.world = options.world or (QUICK_WORLDS if quick else WORLDS)
    options.dtype = options.dtype or (QUICK_OPERANDS if quick else OPERANDS)
    options.repeats = options.repeats or (QUICK_REPEATS if quick else REPEATS)
    options.shapes = QUICK_SHAPES if quick else SHAPES
    if options.rows:
        options.shapes = list(itertools.product(options.rows, options.d))
    if gpus:
        options.world = [world for world in options.world if world <= gpus]
        if not options.world:
            parser.error(f"--world: a rank takes a GPU, and there is no more than {gpus}")
    try:
        for dtype in options.dtype:
            choose_backend(options.backend, options.device.torch_device, DTYPES[dtype])
    except RuntimeError as error:
        parser.error(str(error))
    return options


def jobs(options: argparse.Namespace, device: Device) -> list[Job]:
    """One for each number of ranks, with all its cells: starting a rank takes seconds."""
    limit, kind = memory_limit(device, None), device.torch_device.type
    return [
        Job(
            world,
            max(1, machine.cores() // world),
            options.repeats,
            limit,
            [
                Cell(world * rows, d, dtype, kind, options.backend)
                for dtype in options.dtype
                for rows, d in options.shapes
            ],
        )
        for world in sorted(set(options.world))
    ]


def run_job(job: Job) -> Iterator[dict]:
    """The cells' reports as they are finished. Raises what a rank raised, after the others have been stopped."""
    reports = mp.get_context("spawn").SimpleQueue()
    inherited = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(job.threads)  # read by OpenMP when a rank loads it
    with tempfile.TemporaryDirectory() as folder:
        try:
            arguments = (job, f"file://{folder}/rendezvous", reports)
            ranks = mp.spawn(rank.run, arguments, job.world, join=False)
        finally:
            if inherited is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = inherited
        running = True
        while running:
            running = not ranks.join(POLL_SECONDS)
            while not reports.empty():
                yield reports.get()


def describe(device: Device, options: argparse.Namespace) -> dict:
    """The head of the result file."""
    kind = device.torch_device.type
    described = machine.describe_machine(device)
    del described["threads"]  # each cell has its own
    return {
        **machine.head("distributed", options.command),
        "timing": "forward + backward, caches flushed, all ranks at once and the slowest counts, candidates "
        "interleaved; quantiles 20/50/80 %",
        "sent": "bytes that the busiest rank gives to torch.distributed for others in a forward and backward; "
        "all-reduce of B bytes: 2 B (W - 1) / W",
        "tolerance": {dtype: TOLERANCE[dtype] for dtype in options.dtype},
        "repeats": options.repeats,
        "machine": described,
        "versions": machine.describe_versions(device, Cell(2, 2, options.dtype[0], kind, options.backend)),
        "cells": [],
    }


def write_model(options: argparse.Namespace) -> int:
    output = options.output or result_file.RESULTS / "distributed-model.json"
    rows = model.settings()
    assumptions = model.ASSUMPTIONS
    result = machine.head("distributed", options.command) | {"complete": True, "measured": False}
    result |= {"assumptions": assumptions, "settings": rows}
    result_file.write_json(output, result)
    print(f"{model.table(rows)}\n\nwrote {output}")
    return 0


def measure(options: argparse.Namespace) -> int:
    device, started = options.device, time.monotonic()
    check_truth(torch.device("cpu"))
    result = describe(device, options)
    name = ["distributed", machine.device_slug(device)]
    name += [options.backend] if options.backend != "auto" else []
    name += ["quick"] if options.quick else ["part"] if options.rows else []
    output = options.output or result_file.RESULTS / f"{'-'.join(name)}.json"
    print(f"{device.name}, {machine.cores()} cores; torch {torch.__version__}; forward + backward")
    print(table.HEADER, flush=True)
    for job in jobs(options, device):
        say(f"[{time.monotonic() - started:.0f} s] {job.world} ranks, {job.threads} threads each")
        for cell in run_job(job):
            cell["targets"] = table.verdicts(cell)
            result["cells"].append(cell)
            print(table.row(cell), flush=True)
            result_file.write_json(output, result)
    result.update(complete=True, seconds=round(time.monotonic() - started, 1))
    result_file.write_json(output, result)
    for title, lines in (
        ("Remarks:", table.remarks(result["cells"])),
        ("Targets:", table.target_lines(result["cells"])),
    ):
        if lines:
            print("\n".join(["", title, *lines]))
    print(f"\n{result['seconds']:.0f} s; wrote {output}")
    entries = [entry for cell in result["cells"] for entry in cell["candidates"].values()]
    return 1 if any(entry["status"] == "FAIL" for entry in entries) else 0


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    return write_model(options) if options.model else measure(options)


if __name__ == "__main__":
    sys.exit(main())
