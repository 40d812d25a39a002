"""What all commands share: the names and words of their options, the device, what they say while they run."""

import argparse
import math
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from benchmarks.shared import result_file
from benchmarks.shared.device import Device, open_device
from bt_kernels.options import BACKENDS

WIDTH = 100  # of the help's paragraphs


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number >= {least}, got {text!r}")
        return value

    return whole_number


def above_zero(text: str) -> float:
    """The type of an option that is a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def say(text: str) -> None:
    """Progress, beside what a command prints."""
    print(text, file=sys.stderr, flush=True)


class Command(argparse.ArgumentParser):
    """The command line of ``python -m benchmarks.NAME``.

    Args:
        name: NAME.
        does: What it measures and writes.
        examples: Arguments to try, as on a command line, and what they do.
        statuses: What the exit status says.
    """

    def __init__(self, name: str, does: str, examples: dict[str, str], statuses: str) -> None:
        self.name = name
        shown = [f"  {self.line(shlex.split(given))}\n      {what}" for given, what in examples.items()]
        super().__init__(
            prog=f"python -m benchmarks.{name}",
            description=textwrap.fill(does, WIDTH),
            epilog="\n".join(["examples:", *shown, "", textwrap.fill(f"Exit status: {statuses}", WIDTH)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def line(self, arguments: Iterable[str]) -> str:
        """The command with these arguments, as a result file has it."""
        return f"python -m benchmarks.{self.name} {shlex.join(arguments)}".strip()

    def option(self, name: str, words: str, default: Any = None, shown: str = "", **how: Any) -> None:
        """Adds an option. Its help is the words, the choices, and the default or what is shown in its place."""
        if choices := how.get("choices"):
            how["metavar"] = name.upper()
            words = f"{words}: {', '.join(choices)}"
        if not shown:
            shown = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
        text = f"{words} (default: {shown})".replace("%", "%%")
        self.add_argument(f"--{name}", help=text, default=default, **how)

    def n(
        self, default: Any = None, several: bool = False, shown: str = "", words: str = "N, the batch size"
    ) -> None:
        how: dict = {"nargs": "+"} if several else {}
        self.option("n", f"{words}, in samples", default, shown, type=at_least(2), metavar="N", **how)

    def d(self, default: Any = None, several: bool = False, shown: str = "", least: int = 1) -> None:
        how: dict = {"nargs": "+"} if several else {}
        self.option(
            "d", "D, the features of an embedding", default, shown, type=at_least(least), metavar="D", **how
        )

    def dtype(self, choices: Sequence[str], default: Any = None, several: bool = False, shown: str = "") -> None:
        how: dict = {"nargs": "+"} if several else {}
        tf32 = ", tf32 for float32 that a GPU multiplies as TF32" if "tf32" in choices else ""
        self.option("dtype", f"of the embeddings{tf32}", default, shown, choices=choices, **how)

    def backend(self, choices: Sequence[str] = BACKENDS, default: Any = "auto", several: bool = False) -> None:
        how: dict = {"nargs": "+"} if several else {}
        self.option("backend", "of bt_kernels that is measured", default, choices=choices, **how)

    def device(self, default: str | None = None, words: str = "cpu, cuda or cuda:1") -> None:
        self.option("device", words, default, "" if default else "cuda if there is one, else cpu")

    def threads(self) -> None:
        self.option("threads", "CPU threads", None, "PyTorch's own choice", type=at_least(1), metavar="T")

    def max_memory(self, words: str, shown: str) -> None:
        self.option("max-memory", f"{words}, in GB", None, shown, type=above_zero, metavar="GB")

    def repeats(self, default: int | None, words: str, shown: str = "") -> None:
        self.option("repeats", words, default, shown, type=at_least(1), metavar="R")

    def seconds(self, default: float | None, words: str, shown: str = "") -> None:
        self.option("seconds", words, default, shown, type=above_zero, metavar="S")

    def output(self, shown: str) -> None:
        self.option(
            "output", "the result file to write", None, shown, type=result_file.json_path, metavar="RESULT.json"
        )

    def report(self, words: str) -> None:
        self.option("report", words, None, "measure", type=result_file.path, metavar="RESULT.json")

    def open_device(self, options: argparse.Namespace) -> Device:
        """Of --device, with --threads. Ends the command where it cannot be used."""
        if getattr(options, "threads", None):
            torch.set_num_threads(options.threads)
        try:
            return open_device(options.device or default_device())
        except RuntimeError as error:
            self.error(str(error))
