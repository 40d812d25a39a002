"""The command line of the evaluations; turns their errors into sentences and exit statuses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from bt_kernels.trainer.command_line import INTERRUPTED, describe_options, set_threads
from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.command import PROTOCOLS, build_parser
from bt_kernels.trainer.evaluate.linear import evaluate_linear
from bt_kernels.trainer.evaluate.neighbours import evaluate_knn
from bt_kernels.trainer.evaluate.result import Evaluation, format_table, summarise
from bt_kernels.trainer.evaluate.semi_supervised import evaluate_semi_supervised
from bt_kernels.trainer.evaluate.sources import resolve_options
from bt_kernels.trainer.evaluate.unfinished import unfinished_file
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.precision import lacking_instructions, slow_precision
from bt_kernels.trainer.run.console import outlived_console
from bt_kernels.trainer.run.files import write_json

EVALUATIONS: dict[str, Callable[..., Evaluation]] = {
    "knn": evaluate_knn,
    "linear": evaluate_linear,
    "semi-supervised": evaluate_semi_supervised,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 refused or failed, 130 interrupted.
    """
    with outlived_console():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    given = vars(build_parser().parse_args(arguments))
    protocol = given.pop("protocol")
    try:
        run(protocol, given)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(f"\nInterrupted; {str(interruption) or 'nothing was written'}.", file=sys.stderr)
        return INTERRUPTED
    return 0


def run(protocol: str, given: dict[str, Any]) -> None:
    """Evaluate by a protocol, print the table and write the JSON file if there is to be one."""
    if dist.is_torchelastic_launched():
        raise TrainerError("the evaluation runs in one process; start it by python -m bt_kernels.trainer.evaluate")
    how = {"resume": given.pop("resume")} if "resume" in given else {}
    options = resolve_options(given, PROTOCOLS[protocol].options)
    output = Path(options.output) if options.output else None
    if output is not None:  # to be known before hours of training
        if output.is_dir():
            raise TrainerError(f"cannot write --output {output}: it is a folder; name a file in it")
        if not output.parent.is_dir():
            raise TrainerError(f"cannot write --output {output}: there is no folder {output.parent}")
    set_threads(Processes())
    print(describe_options(options), file=sys.stderr)
    lacking = lacking_instructions(options.precision, resolve_device(options.device))
    if lacking is not None:
        print(slow_precision(lacking), file=sys.stderr)
    start = time.perf_counter()
    try:
        evaluation = EVALUATIONS[protocol](options, **how)
    except KeyboardInterrupt as interruption:
        if output is not None and unfinished_file(output).exists():
            raise KeyboardInterrupt(
                "the same command with --resume goes on after the last epoch"
            ) from interruption
        raise
    seconds = time.perf_counter() - start
    if evaluation.left_out:
        index, reason = min(evaluation.train.unreadable.items())
        print(
            f"warning: {evaluation.left_out} training images cannot be read and are left out with their labels; "
            f"the first is {evaluation.train.name(index)} ({reason})",
            file=sys.stderr,
        )
    for part in (evaluation.train, evaluation.test):
        if part.passed_over:
            print(part.passed_over, file=sys.stderr)
    print(format_table(evaluation))
    if output is not None:
        write_json(output, summarise(evaluation, seconds))
        unfinished_file(output).unlink(missing_ok=True)
        print(f"\nResult  {output}")
