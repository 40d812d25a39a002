"""Errors against float64 of every backend and of others' code: python -m benchmarks.accuracy --help."""

import argparse
import csv
import itertools
import math
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
from benchmarks.shared.cell import Cell, of_operands
from benchmarks.shared.command import Command, at_least, say
from benchmarks.shared.device import CudaDevice
from bt_kernels.backends.registry import choose_backend
from bt_kernels.formulation import choose_formulation

SHAPES = [(128, 512), (512, 128)]
DTYPES = ("float32", "tf32", "bfloat16", "float16")
MOST_D = 8192  # the truth holds several D x D matrices of float64
METRICS = ("loss_error", "on_diagonal_error", "off_diagonal_error", "gradient_error")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "accuracy",
        "Measures the errors of the loss, of its two terms and of its gradient against float64, for every backend "
        "that works here and for the code of others, from views that share nothing to views that are nearly the "
        "same. Writes a JSON file, and beside it a CSV file and a plot.",
        {
            "": "two shapes in every dtype; under two minutes on two CPU cores",
            "--n 256 --d 2048 --dtype float32": "one shape, one dtype",
            "--report benchmarks/results/accuracy-DEVICE.json": "tables and plot of a result",
        },
        "0 measured; 1 an implementation raised or bt_kernels gave no finite number; 2 bad arguments.",
    )
    shapes = ", ".join(f"{n} at D = {d}" for n, d in SHAPES)
    parser.n(several=True, shown=shapes)
    parser.d(several=True, shown="as --n says; give both or neither", least=2)
    parser.dtype(DTYPES, several=True, shown="all that work here")
    parser.option("seeds", "draws of every input", 3, type=at_least(1), metavar="S")
    parser.device()
    parser.output("benchmarks/results/accuracy-DEVICE.json")
    parser.option(
        "picture", "the plot", None, "beside the result file", type=result_file.path, metavar="PICTURE.png"
    )
    parser.report("measure nothing: print the tables of this result and draw it")
    options = parser.parse_args(arguments)
    options.command = parser.line(arguments)
    if options.report:
        try:
            options.result = result_file.read(options.report, "accuracy")
        except ValueError as error:
            parser.error(str(error))
        return options
    if bool(options.n) != bool(options.d):
        parser.error("--n and --d: give both or neither")
    if max(options.d or [0]) > MOST_D:
        parser.error(f"--d: expected at most {MOST_D}, got {max(options.d)}")
    options.shapes = list(itertools.product(options.n, options.d)) if options.n else SHAPES
    options.opened = parser.open_device(options)
    on_gpu = isinstance(options.opened, CudaDevice)
    options.dtype = options.dtype or [name for name in DTYPES if on_gpu or name != "tf32"]
    if "tf32" in options.dtype and not on_gpu:
        parser.error("--dtype tf32: only on a GPU")
    return options


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
                reasons[name] = result_file.first_line(error)
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
    for operands in options.dtype:
        for n, d in options.shapes:
            cell = Cell(n, d, device=str(options.opened.torch_device), **of_operands(operands))
            for features in FEATURES:
                yield from ((cell, features, strength) for strength in STRENGTHS)


def run(options: argparse.Namespace) -> tuple[dict, Path]:
    device, started = options.opened, time.monotonic()
    todo = list(cells(options))
    result = {
        **machine.head("accuracy", options.command),
        "errors": "against float64: relative of the loss and its terms, relative L2 of both views' gradient; "
        "median and max over the seeds",
        "seeds": options.seeds,
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, todo[0][0]),
        "cells": [],
    }
    output = options.output or result_file.RESULTS / f"accuracy-{machine.device_slug(device)}.json"
    for index, (cell, features, strength) in enumerate(todo, 1):
        if index % len(STRENGTHS) == 1:
            where = f"[{index}/{len(todo)}, {time.monotonic() - started:.0f} s]"
            say(f"{where} {cell.operands}, N = {cell.n}, D = {cell.d}, {features}")
        result["cells"].append(measure(cell, features, strength, options.seeds))
    result.update(complete=True, seconds=round(time.monotonic() - started, 1))
    write(output, result)
    return result, output


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.report:
        result, output = options.result, options.report
    else:
        result, output = run(options)
    print(f"{result['machine']['device']}; torch {result['versions']['torch']}; {result['seeds']} seeds")
    print("\n".join([*tables(result), "", *summary(result)]))
    written = [] if options.report else [output, output.with_suffix(".csv")]
    try:
        from benchmarks.accuracy import plot

        written.append(plot.draw(result, options.picture or output.with_suffix(".png")))
    except ImportError as error:
        say(f"no plot: {error} (pip install matplotlib)")
    print(f"\nwrote {', '.join(map(str, written))}" if written else "")
    entries = [found for cell in result["cells"] for found in cell["candidates"].values()]
    return 1 if any(found["status"] != "ok" for found in entries) else 0


if __name__ == "__main__":
    sys.exit(main())
