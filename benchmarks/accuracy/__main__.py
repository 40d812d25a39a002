"""Errors against float64 of every backend and of others' code: python -m benchmarks.accuracy --help."""

import argparse
import csv
import datetime
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.accuracy.implementations import Outcome, implementations
from benchmarks.accuracy.inputs import FEATURES, STRENGTHS, make_views
from benchmarks.accuracy.table import summary, tables
from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CudaDevice, open_device
from bt_kernels.backends.registry import choose_backend
from bt_kernels.formulation import choose_formulation

RESULTS = Path(__file__).parents[1] / "results"
SHAPES = [(128, 512), (512, 128)]
OPERANDS = ("float32", "tf32", "bfloat16", "float16")
MOST_D = 8192  # the truth holds several D x D matrices of float64
METRICS = ("loss_error", "on_diagonal_error", "off_diagonal_error", "gradient_error")


def shape(text: str) -> tuple[int, int]:
    try:
        n, d = map(int, text.lower().split("x"))
    except ValueError:
        n = d = 0
    if n < 2 or not 2 <= d <= MOST_D:
        raise argparse.ArgumentTypeError(f"expected NxD, N >= 2 and D from 2 to {MOST_D}, got {text!r}")
    return n, d


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description="Measures the errors of the loss, its two terms and its gradient against float64, from views "
        "that share nothing to views that are nearly the same; writes a JSON and a CSV file and a plot.",
        epilog="Exit status: 0 measured; 1 an implementation raised or bt_kernels gave no finite number; "
        "2 bad arguments.",
    )
    add = parser.add_argument
    add("--shapes", type=shape, nargs="+", default=SHAPES, metavar="NxD", help="default 128x512 512x128")
    add("--operands", choices=OPERANDS, nargs="+", help="dtypes; tf32: float32 on a GPU (default: all that work)")
    add("--seeds", type=int, default=3, metavar="S", help="draws of every input (default %(default)s)")
    add("--device", help="cpu, cuda or cuda:1 (default: cuda if there is one, else cpu)")
    add(
        "--output",
        type=result_file.json_path,
        metavar="RESULT.json",
        help="default benchmarks/results/accuracy-DEVICE.json",
    )
    add("--picture", type=result_file.path, metavar="PICTURE.png", help="default beside RESULT.json")
    add(
        "--plot",
        type=result_file.path,
        metavar="RESULT.json",
        help="measure nothing: draw this result and print its table",
    )
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds: expected a number >= 1, got {options.seeds}")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.plot:
        try:
            options.result = read(options.plot)
        except ValueError as error:
            parser.error(str(error))
        return options
    try:
        options.opened = open_device(options.device)
    except RuntimeError as error:
        parser.error(str(error))
    on_gpu = isinstance(options.opened, CudaDevice)
    options.operands = options.operands or [name for name in OPERANDS if on_gpu or name != "tf32"]
    if "tf32" in options.operands and not on_gpu:
        parser.error("--operands tf32: only on a GPU")
    return options


def read(path: Path) -> dict:
    """Raises ValueError unless the file is a result of benchmarks.accuracy."""
    try:
        result = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(result, dict) or result.get("benchmark") != "accuracy":
        raise ValueError(f"{path} is not a result file of benchmarks.accuracy")
    return result


def relative(got: Tensor, want: Tensor) -> float:
    return (abs(got.double() - want) / abs(want)).item()


def errors(outcome: Outcome, truth: Outcome) -> dict[str, float]:
    """Relative errors of loss and terms, and the relative L2 error of both views' gradient together."""
    found = {"loss_error": relative(outcome.loss, truth.loss)}
    if outcome.terms and truth.terms:
        for name, got, want in zip(METRICS[1:3], outcome.terms, truth.terms, strict=True):
            found[name] = relative(got, want)
    pairs = list(zip(outcome.gradients, truth.gradients, strict=True))
    difference = sum((got - want).square().sum() for got, want in pairs)
    found["gradient_error"] = (difference / sum(want.square().sum() for _, want in pairs)).sqrt().item()
    return found


def measure(cell: Cell, features: str, strength: float, seeds: int) -> dict:
    """One cell of the result file: median and max over the seeds of every implementation's errors."""
    found: dict[str, list[dict[str, float]]] = {}
    reasons: dict[str, str] = {}
    candidates = implementations(cell)
    for seed in range(seeds):
        views = make_views(cell.n, cell.d, strength, features, seed)
        z_a, z_b = (z.to(cell.torch_dtype).to(cell.device) for z in views)
        truths: dict = {}
        for name, implementation in candidates.items():
            if implementation.truth not in truths:
                truths[implementation.truth] = implementation.truth(z_a.double(), z_b.double())
            truth = truths[implementation.truth]
            try:
                with cell.products():
                    outcome = implementation.run(z_a, z_b, cell.loss_scale)
                found.setdefault(name, []).append(errors(outcome, truth))
            except Exception as error:  # whatever it is, the others' numbers must not go along
                reasons[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    formulation = choose_formulation("auto", cell.n, cell.d)
    return {
        "n": cell.n,
        "d": cell.d,
        "dtype": cell.dtype,
        "operands": cell.operands,
        "features": features,
        "strength": strength,
        "auto": f"bt_kernels_{choose_backend('auto', torch.device(cell.device), cell.torch_dtype)}_{formulation}",
        "candidates": {
            name: {"status": "unavailable", "reason": reasons[name], "label": candidates[name].label}
            if name in reasons
            else entry(name, candidates[name].label, found[name])
            for name in candidates
        },
    }


def entry(name: str, label: str, draws: list[dict[str, float]]) -> dict:
    finite = all(math.isfinite(value) for draw in draws for value in draw.values())
    failed = name.startswith("bt_kernels") and not finite
    summarised: dict = {"status": "FAIL" if failed else "ok", "label": label}
    for metric in METRICS:
        values = [draw[metric] for draw in draws if metric in draw]
        if values:
            # Not finite counts as the largest.
            ordered = [value if math.isfinite(value) else math.inf for value in values]
            summarised |= {metric: statistics.median(ordered), f"{metric}_max": max(ordered)}
    return summarised


def write(path: Path, result: dict) -> None:
    """RESULT.json, and RESULT.csv with a line per cell and implementation."""
    result_file.write_json(path, result)
    shared = ("n", "d", "operands", "features", "strength")
    numbers = [f"{metric}{end}" for metric in METRICS for end in ("", "_max")]
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*shared, "candidate", "status", *numbers, "reason"], extrasaction="ignore")
        writer.writeheader()
        for cell in result["cells"]:
            for name, found in cell["candidates"].items():
                writer.writerow({**{key: cell[key] for key in shared}, "candidate": name, **found})


def cells(options: argparse.Namespace) -> Iterator[tuple[Cell, str, float]]:
    for operands in options.operands:
        dtype, precision = ("float32", "tf32") if operands == "tf32" else (operands, "ieee")
        for n, d in options.shapes:
            cell = Cell(n, d, dtype, str(options.opened.torch_device), precision=precision)
            for features in FEATURES:
                yield from ((cell, features, strength) for strength in STRENGTHS)


def run(options: argparse.Namespace, arguments: list[str]) -> tuple[dict, Path]:
    device, started = options.opened, time.monotonic()
    todo = list(cells(options))
    result = {
        "benchmark": "accuracy",
        "complete": False,
        "command": f"python -m benchmarks.accuracy {shlex.join(arguments)}".strip(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "errors": "against float64: relative of the loss and its terms, relative L2 of both views' gradient; "
        "median and max over the seeds",
        "seeds": options.seeds,
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, todo[0][0]),
        "git": machine.describe_commit(),
        "cells": [],
    }
    output = options.output or RESULTS / f"accuracy-{machine.device_slug(device)}.json"
    for index, (cell, features, strength) in enumerate(todo, 1):
        if index % len(STRENGTHS) == 1:
            where = f"[{index}/{len(todo)}, {time.monotonic() - started:.0f} s]"
            print(f"{where} {cell.operands}, N = {cell.n}, D = {cell.d}, {features}", file=sys.stderr, flush=True)
        result["cells"].append(measure(cell, features, strength, options.seeds))
    result.update(complete=True, seconds=round(time.monotonic() - started, 1))
    write(output, result)
    return result, output


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    if options.plot:
        result, output = options.result, options.plot
    else:
        result, output = run(options, arguments)
    print(f"{result['machine']['device']}; torch {result['versions']['torch']}; {result['seeds']} seeds")
    print("\n".join([*tables(result), "", *summary(result)]))
    written = [] if options.plot else [output, output.with_suffix(".csv")]
    try:
        from benchmarks.accuracy import plot

        written.append(plot.draw(result, options.picture or output.with_suffix(".png")))
    except ImportError as error:
        print(f"no plot: {error} (pip install matplotlib)", file=sys.stderr)
    print(f"\nwrote {', '.join(map(str, written))}" if written else "")
    entries = [found for cell in result["cells"] for found in cell["candidates"].values()]
    return 1 if any(found["status"] != "ok" for found in entries) else 0


if __name__ == "__main__":
    sys.exit(main())
