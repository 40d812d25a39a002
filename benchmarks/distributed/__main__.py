"""The benchmark of the loss over ranks, forward + backward: python -m benchmarks.distributed --help."""

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.multiprocessing as mp

from benchmarks.distributed import model, rank, table
from benchmarks.distributed.rank import Job
from benchmarks.loss.__main__ import RESULTS, positive, say
from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import DTYPES, Cell
from benchmarks.shared.correctness import TOLERANCE, check_truth
from benchmarks.shared.device import Device, open_device
from benchmarks.shared.limits import memory_limit
from bt_kernels.backends.registry import choose_backend
from bt_kernels.options import BACKENDS

WORLDS, SHAPES, OPERANDS, REPEATS = [2, 4], [(64, 2048), (64, 8192), (1024, 512)], ["float32", "bfloat16"], 9
QUICK_WORLDS, QUICK_SHAPES, QUICK_OPERANDS, QUICK_REPEATS = [4], [(64, 8192), (1024, 512)], ["float32"], 3
POLL_SECONDS = 0.1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distributed",
        description="Times forward + backward of the Barlow Twins loss over W processes, in both formulations, "
        "beside the authors' all-reduce of C, and counts what a rank sends; checks everything against float64 on "
        "the joined batch first; writes a JSON file. gloo on CPUs; with GPUs NCCL, a GPU each.",
        epilog="Exit status: 0 measured; 1 a candidate computes wrong numbers; 2 bad arguments. A missed target "
        "is marked and changes nothing else: timings depend on the machine.",
    )
    add = parser.add_argument
    shapes = " ".join(f"{rows}x{d}" for rows, d in SHAPES)
    add("--quick", action="store_true", help="four ranks, two cells, float32, three repeats")
    add("--world", type=positive, nargs="+", metavar="W", help="numbers of ranks (default 2 4)")
    add("--rows", type=positive, nargs="+", metavar="n", help=f"of each rank (default with D: {shapes})")
    add("--features", type=positive, nargs="+", metavar="D", help="see --rows: give both or neither")
    add("--dtype", choices=DTYPES, nargs="+", help="of the embeddings (default float32 bfloat16)")
    add("--backend", choices=BACKENDS, default="auto", help="of bt_kernels (default %(default)s)")
    add("--repeats", type=positive, help=f"of every candidate in a cell (default {REPEATS})")
    add("--model", action="store_true", help="measures nothing: works out bytes, FLOPs and memory")
    add(
        "--output",
        type=result_file.json_path,
        metavar="RESULT.json",
        help="default benchmarks/results/distributed-DEVICE.json",
    )
    options = parser.parse_args(arguments)
    measured = ("quick", "world", "rows", "features", "dtype", "repeats")
    if options.model and (options.backend != "auto" or any(getattr(options, name) for name in measured)):
        parser.error("--model measures nothing: only --output goes with it")
    if bool(options.rows) != bool(options.features):
        parser.error("--rows and --features: give both or neither")
    if options.quick and any(getattr(options, name) for name in ("world", "rows", "dtype")):
        parser.error("--quick has its own cells: leave out --world, --rows, --features and --dtype")
    if options.world and min(options.world) < 2:
        parser.error("--world: one rank sends nothing, expected W >= 2")
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
        options.shapes = [(rows, d) for rows in options.rows for d in options.features]
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


def describe(device: Device, options: argparse.Namespace, command: str) -> dict:
    """The head of the result file."""
    kind = device.torch_device.type
    described = machine.describe_machine(device)
    del described["threads"]  # each cell has its own
    return {
        **head(command),
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


def head(command: str) -> dict:
    return {
        "benchmark": "distributed",
        "complete": False,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": machine.describe_commit(),
    }


def write_model(command: str, output: Path) -> int:
    rows = model.settings()
    assumptions = model.ASSUMPTIONS
    result = head(command) | {"complete": True, "measured": False, "assumptions": assumptions, "settings": rows}
    result_file.write_json(output, result)
    print(f"{model.table(rows)}\n\nwrote {output}")
    return 0


def measure(options: argparse.Namespace, command: str) -> int:
    device, started = options.device, time.monotonic()
    check_truth(torch.device("cpu"))
    result = describe(device, options, command)
    name = ["distributed", machine.device_slug(device)]
    name += [options.backend] if options.backend != "auto" else []
    name += ["quick"] if options.quick else ["part"] if options.rows else []
    output = options.output or RESULTS / f"{'-'.join(name)}.json"
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
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    command = f"python -m benchmarks.distributed {shlex.join(arguments)}".strip()
    if options.model:
        return write_model(command, options.output or RESULTS / "distributed-model.json")
    return measure(options, command)


if __name__ == "__main__":
    sys.exit(main())
