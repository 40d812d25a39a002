"""The command line of the evaluations; turns their errors into sentences and exit statuses."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from bt_kernels.trainer.cli import INTERRUPTED, describe_options, set_threads
from bt_kernels.trainer.config.option import add_options
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.linear import evaluate_linear
from bt_kernels.trainer.evaluate.neighbours import evaluate_knn
from bt_kernels.trainer.evaluate.options import (
    EvaluationOptions,
    KnnOptions,
    LinearOptions,
    SemiSupervisedOptions,
)
from bt_kernels.trainer.evaluate.result import Evaluation, format_table, summarise
from bt_kernels.trainer.evaluate.semi_supervised import evaluate_semi_supervised
from bt_kernels.trainer.evaluate.sources import resolve_options
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.files import write_json


@dataclass(frozen=True)
class Protocol:
    """A way of evaluating: its options, what does it, and what --help says."""

    options: type[EvaluationOptions]
    evaluate: Callable[[Any], Evaluation]
    help: str


PROTOCOLS = {
    "knn": Protocol(KnnOptions, evaluate_knn, "classify by the nearest training images; nothing is trained"),
    "linear": Protocol(
        LinearOptions,
        evaluate_linear,
        "train a linear classifier on the frozen features; the result is that after the last epoch",
    ),
    "semi-supervised": Protocol(
        SemiSupervisedOptions,
        evaluate_semi_supervised,
        "fine-tune backbone and classifier on a few of the labels, 1 % or 10 %; the result is that after the last "
        "epoch",
    ),
}


def build_parser() -> argparse.ArgumentParser:
    """One command per protocol, each with its options."""
    parser = argparse.ArgumentParser(
        prog="python -m bt_kernels.trainer.evaluate",
        description="Measure how good a pre-trained backbone's features are, by the paper's protocols.",
    )
    commands = parser.add_subparsers(dest="protocol", required=True, metavar="{knn,linear,semi-supervised}")
    for name, protocol in PROTOCOLS.items():
        command = commands.add_parser(
            name,
            help=protocol.help.replace("%", "%%"),
            description=protocol.help.capitalize() + ".",
            argument_default=argparse.SUPPRESS,
        )
        command.add_argument("--config", metavar="FILE", type=Path, help="YAML file of options; others go before")
        command.add_argument(
            "--run",
            metavar="RUN_DIR",
            help="run folder to take the weights from (those exported, else the latest checkpoint's), and, unless "
            "given here, backbone, stem, shortcuts, image size, data set and seed",
        )
        add_options(command, protocol.options)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 refused or failed, 130 interrupted.
    """
    given = vars(build_parser().parse_args(arguments))
    protocol = PROTOCOLS[given.pop("protocol")]
    try:
        run(protocol, given)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0


def run(protocol: Protocol, given: dict[str, Any]) -> None:
    """Evaluate by a protocol, print the table and write the JSON file if there is to be one."""
    if dist.is_torchelastic_launched():
        raise TrainerError("the evaluation runs in one process; start it by python -m bt_kernels.trainer.evaluate")
    options = resolve_options(given, protocol.options)
    output = Path(options.output) if options.output else None
    if output is not None and not output.parent.is_dir():  # to be known before hours of training
        raise TrainerError(f"cannot write --output {output}: there is no folder {output.parent}")
    set_threads(Processes())
    print(describe_options(options), file=sys.stderr)
    start = time.perf_counter()
    evaluation = protocol.evaluate(options)
    seconds = time.perf_counter() - start
    print(format_table(evaluation))
    if output is not None:
        write_json(output, summarise(evaluation, seconds))
        print(f"\nResult  {output}")
