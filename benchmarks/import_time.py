"""What import bt_kernels costs beside import torch: python -m benchmarks.import_time --help.

CPU seconds of fresh processes with one thread, from the interpreter's start to the end of the imports. The imports
are made in turn in each round, and ratios and differences are formed within a round.
"""

import argparse
import datetime
import os
import shlex
import subprocess
import sys

import torch

from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CpuDevice
from benchmarks.shared.measure import quantiles
from benchmarks.shared.memory import ROOT

IMPORTS = {
    "torch": "import torch",
    "bt_kernels": "import torch, bt_kernels",
    "bt_kernels and Triton": "import torch, bt_kernels; from bt_kernels.backends import triton; triton.load()",
}
SAID = "; import time; print(time.process_time())"
LIMIT = 0.15  # seconds beyond import torch, on a machine without a GPU


def seconds(imports: str) -> float:
    command = [sys.executable, "-c", imports + SAID]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(rounds: int) -> dict:
    """The samples, and the quantiles of what each takes alone and beyond torch."""
    for imports in IMPORTS.values():  # into the file system's cache, and compiled
        seconds(imports)
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    names = list(IMPORTS)
    for start in range(rounds):
        for name in names[start % len(names) :] + names[: start % len(names)]:
            samples[name].append(seconds(IMPORTS[name]))
    beyond = {
        name: [all_of_it - bare for all_of_it, bare in zip(samples[name], samples["torch"], strict=True)]
        for name in names[1:]
    }
    return {
        "cpu_seconds": {name: quantiles(samples[name])._asdict() for name in names},
        "cpu_seconds_beyond_torch": {name: quantiles(values)._asdict() for name, values in beyond.items()},
        "samples": samples,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="default %(default)s")
    parser.add_argument("--json", type=result_file.json_path, metavar="FILE", help="the result, with all samples")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: expected a whole number >= 1")
    torch.set_num_threads(1)
    device = CpuDevice()
    given = sys.argv[1:] if arguments is None else arguments
    result = {
        "benchmark": "import_time",
        "command": shlex.join(["python", "-m", "benchmarks.import_time", *given]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "timing": "CPU seconds of fresh processes, one thread, from the interpreter's start to the end of the "
        "imports, in turn in each round; quantiles 20/50/80 %",
        "limit_beyond_torch": LIMIT,
        "rounds": options.rounds,
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, Cell(2, 2)),
        "git": machine.describe_commit(),
        **measure(options.rounds),
    }
    for name, found in result["cpu_seconds"].items():
        beyond = result["cpu_seconds_beyond_torch"].get(name)
        print(f"{name:<22} {found['q50']:.3f} s" + (f", {beyond['q50']:.3f} s beyond torch" if beyond else ""))
    if options.json is not None:
        result_file.write_json(options.json, result)
    over = result["cpu_seconds_beyond_torch"]["bt_kernels"]["q50"] > LIMIT
    return 1 if over and not torch.cuda.is_available() else 0


if __name__ == "__main__":
    sys.exit(main())
