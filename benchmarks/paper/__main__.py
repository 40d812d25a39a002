"""The command line: run what is missing of the grid, then write the tables and draw the picture."""

import argparse
import multiprocessing
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.paper import grid, results, train
from benchmarks.paper.grid import Run, Scale
from benchmarks.shared import machine, result_file
from benchmarks.shared.command import Command, at_least
from benchmarks.shared.device import Device
from bt_kernels import __version__
from bt_kernels.backends.registry import choose_backend
from bt_kernels.trainer.errors import TrainerError

PICTURE = result_file.ROOT / "docs" / "pictures" / "paper.png"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Command(
        "paper",
        "Repeats the paper's ablations (tables 5 and 6) and its figures 2, 4 and 5 in miniature, and says for "
        "each finding whether the small setting agrees. Writes a JSON file after every run, then a table beside "
        "it and a picture. Finished runs are kept: the same command goes on where it was stopped.",
        {
            "--jobs 2": "on the digits; some 34 minutes on two busy CPU cores",
            "--report benchmarks/results/paper-DATA-DEVICE.json": "table and picture of a result",
        },
        "0 all runs are done; 2 bad arguments, or a result that was made with other settings.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--reduced", action="store_true", help="small network and grid (default: on a CPU)")
    size.add_argument(
        "--full", action="store_true", help="larger network, more seeds and points (default: on a GPU)"
    )
    parser.option("data", "what is trained on", "digits", choices=("digits", "cifar10"))
    parser.option(
        "data-dir", "folder of CIFAR-10, which is not downloaded", "", "the current one", metavar="FOLDER"
    )
    parser.device()
    parser.option("jobs", "runs at a time, with one CPU thread each", None, "CPU cores; on a GPU 1",
                  type=at_least(1), metavar="J")  # fmt: skip
    parser.output("benchmarks/results/paper-DATA-DEVICE.json")
    parser.option("picture", "the plot", PICTURE, "docs/pictures/paper.png", type=result_file.path,
                  metavar="PICTURE.png")  # fmt: skip
    parser.report("run nothing: print the table of this result and draw it")
    options = parser.parse_args(arguments)
    options.parser, options.command = parser, parser.line(arguments)
    return options


def choose_scale(options: argparse.Namespace, on_gpu: bool) -> Scale:
    full = options.full or (on_gpu and not options.reduced)
    if options.data == "cifar10":
        return grid.FULL_CIFAR if full else grid.REDUCED_CIFAR
    return grid.FULL if full else grid.REDUCED


def head(options: argparse.Namespace, scale: Scale, opened: Device, jobs: int) -> dict:
    """What the result file says of where its numbers came from."""
    return {
        **machine.head(results.BENCHMARK, options.command),
        "machine": machine.describe_machine(opened) | {"threads_per_run": 1, "jobs": jobs},
        "versions": {
            "bt_kernels": __version__,
            "bt_kernels_backend": choose_backend("auto", opened.torch_device, torch.float32),
            "python": platform.python_version(),
            **{name: machine.installed(name) for name in ("torch", "torchvision", "scikit-learn", "numpy")},
        },
        "grid": asdict(scale),
        "configuration": results.configuration(scale, options.data, opened.name),
    }


def run_grid(store: results.Store, runs: list[Run], jobs: int, execute_arguments: tuple) -> None:
    """Do the runs that the store lacks, ``jobs`` at a time, and keep each as it finishes."""
    missing = store.missing(runs)
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {store.path}; {jobs} at a time", flush=True)
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
    scale, *where = execute_arguments
    try:
        started = {pool.submit(train.execute, scale, run, *where): run for run in missing}
        for done, future in enumerate(as_completed(started), 1):
            run, entry = started[future], future.result()
            store.add(run, entry)
            accuracy = 100 * entry["accuracy"]["10"]
            passed = (time.perf_counter() - start) / 60
            print(f"{done}/{len(missing)} {passed:.1f} min  {accuracy:.1f} %  {run.key}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    store.finish(runs)


def report(result: dict, path: Path, picture: Path) -> None:
    """Write RESULT.md and the picture, and print the former."""
    from benchmarks.paper import plot, table  # needs matplotlib

    text = table.markdown(result)
    path.with_suffix(".md").write_text(text)
    print(text)
    print(plot.draw(result, picture))


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.report:
            report(result_file.read(options.report, results.BENCHMARK), options.report, options.picture)
            return 0
        opened = options.parser.open_device(options)
        on_gpu = opened.torch_device.type == "cuda"
        train.check_data(options.data, options.data_dir)
        scale = choose_scale(options, on_gpu)
        jobs = options.jobs or (1 if on_gpu else machine.cores())
        path = options.output or result_file.RESULTS / f"paper-{options.data}-{machine.device_slug(opened)}.json"
        store = results.Store(path, head(options, scale, opened, jobs))
        where = (scale, options.data, options.data_dir, str(opened.torch_device))
        run_grid(store, grid.all_runs(scale), jobs, where)
    except (ValueError, RuntimeError, TrainerError) as error:
        options.parser.error(str(error))
    report(store.result, path, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
