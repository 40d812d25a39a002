"""The command line of the evaluations, a command per protocol; no PyTorch: what is mistyped is refused at once."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from bt_kernels.trainer.config.option import OptionParser, add_options, path_argument
from bt_kernels.trainer.evaluate.options import (
    EvaluationOptions,
    KnnOptions,
    LinearOptions,
    SemiSupervisedOptions,
    TrainingOptions,
)


@dataclass(frozen=True)
class Protocol:
    """A way of evaluating: its options, and what --help says."""

    options: type[EvaluationOptions]
    help: str


PROTOCOLS = {
    "knn": Protocol(KnnOptions, "classify by the nearest training images; nothing is trained"),
    "linear": Protocol(
        LinearOptions, "train a linear classifier on the frozen features; the result is that after the last epoch"
    ),
    "semi-supervised": Protocol(
        SemiSupervisedOptions,
        "fine-tune backbone and classifier on a few of the labels, 1 % or 10 %; the result is that after the last "
        "epoch",
    ),
}


# What is said in another place, the run's folder or the weights' file, before there is a default.
_ELSEWHERE = {
    "data": "that of the run or the weights",
    "data_dir": "that of the run",
    "workers": "those of the run, or one for each core, at most 8",
    "backbone": "that of the run or the weights, or resnet50",
    "stem": "that of the run or the weights, or imagenet",
    "shortcuts": "those of the run or the weights, or strided",
    "image_size": "that of the run or the weights, or the data set's usual one",
    "seed": "that of the run, or 0",
}


def build_parser() -> OptionParser:
    """One command per protocol, each with its options."""
    parser = OptionParser(
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
        command.add_argument(
            "--config", metavar="FILE", type=path_argument, help="YAML file of options; others go before"
        )
        command.add_argument(
            "--run",
            metavar="RUN_DIR",
            type=os.path.expanduser,
            help="run folder to take the weights from (those exported, else the latest checkpoint's), and, unless "
            "given here, backbone, stem, shortcuts, image size, data set, workers and seed",
        )
        if issubclass(protocol.options, TrainingOptions):
            command.add_argument(
                "--resume",
                nargs="?",
                choices=("always", "auto"),
                const="always",
                help="go on after the last epoch of an evaluation that was stopped; auto: if there is one",
            )
        add_options(command, protocol.options, defaults=_ELSEWHERE)
    return parser
