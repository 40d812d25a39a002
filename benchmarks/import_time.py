"""What import bt_kernels costs beside import torch: python -m benchmarks.import_time --help.

CPU seconds of fresh processes with one thread, from the interpreter's start to the end of the imports. The imports
are made in turn in each round, and ratios and differences are formed within a round.
"""

import os
import subprocess
import sys

import torch

from benchmarks.shared import machine, result_file
from benchmarks.shared.cell import Cell
from benchmarks.shared.command import Command
from benchmarks.shared.device import CpuDevice
from benchmarks.shared.measure import quantiles
from benchmarks.shared.result_file import ROOT

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


def measure(repeats: int) -> dict:
    """The samples, and the quantiles of what each takes alone and beyond torch."""
    for imports in IMPORTS.values():  # into the file system's cache, and compiled
        seconds(imports)
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    names = list(IMPORTS)
    for start in range(repeats):
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
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = Command(
        "import_time",
        "Times import bt_kernels, and the import of Triton behind it, beside import torch: CPU seconds of fresh "
        "processes with one thread. Writes a JSON file where --output asks for one.",
        {"--repeats 10": "some three minutes"},
        f"0 measured; 1 more than {LIMIT} s beyond import torch on a machine without a GPU; 2 bad arguments.",
    )
    parser.repeats(20, "timed processes of every import")
    parser.output("none is written")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = CpuDevice()
    result = {
        **machine.head("import_time", parser.line(arguments)),
        "complete": True,
        "timing": "CPU seconds of fresh processes, one thread, from the interpreter's start to the end of the "
        "imports, in turn in each round; quantiles 20/50/80 %",
        "limit_beyond_torch": LIMIT,
        "repeats": options.repeats,
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, Cell(2, 2)),
        **measure(options.repeats),
    }
    for name, found in result["cpu_seconds"].items():
        beyond = result["cpu_seconds_beyond_torch"].get(name)
        print(f"{name:<22} {found['q50']:.3f} s" + (f", {beyond['q50']:.3f} s beyond torch" if beyond else ""))
    if options.output is not None:
        result_file.write_json(options.output, result)
    over = result["cpu_seconds_beyond_torch"]["bt_kernels"]["q50"] > LIMIT
    return 1 if over and not torch.cuda.is_available() else 0


if __name__ == "__main__":
    sys.exit(main())
