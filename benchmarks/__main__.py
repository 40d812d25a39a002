"""The index of the benchmarks: python -m benchmarks lists them, python -m benchmarks loss --n 256 runs one."""

import importlib
import sys

COMMANDS = {
    "loss": "Time and peak memory of the loss, forward alone and forward + backward, beside others' code.",
    "step": "Time and peak memory of a whole training step with each loss, and the largest batch and D that fit.",
    "distributed": "Time and bytes sent of the loss over several processes, beside the authors' all-reduce of C.",
    "accuracy": "Errors of the loss and its gradient against float64, of every backend and of others' code.",
    "gpu": "The loss on a GPU within a time budget, the triton and the cuda backend beside each other.",
    "paper": "The paper's ablations and figures in miniature, and whether each finding is seen again.",
    "import_time": "What import bt_kernels costs beside import torch.",
    "plot": "Draws the pictures of a result file of loss or gpu.",
    "readme": "Writes README.md's tables and pictures from result files, or checks them.",
    "compare": "Compares two result files and says whether something got worse.",
    "profile_gpu": "Time, bytes and FLOPs of each kernel on a GPU, and the floor that follows from them.",
    "tune_triton": "Times rows for the tables of the triton backend's heuristics on a GPU.",
}
FOLDERS = ("loss", "step", "distributed", "accuracy", "gpu", "paper")


def index() -> str:
    """A sentence for each command."""
    width = max(map(len, COMMANDS)) + 4
    shown = [f"  {name}".ljust(width) + sentence for name, sentence in COMMANDS.items()]
    head = "usage: python -m benchmarks COMMAND ..., or python -m benchmarks.COMMAND ...; --help has the options"
    return "\n".join([head, "", *shown])


def main(arguments: list[str] | None = None) -> int:
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(index())
        return 0
    if name not in COMMANDS:
        print(
            f"python -m benchmarks: there is no {name!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr
        )
        return 2
    module = importlib.import_module(f"benchmarks.{name}.__main__" if name in FOLDERS else f"benchmarks.{name}")
    return module.main(rest)


if __name__ == "__main__":
    sys.exit(main())
