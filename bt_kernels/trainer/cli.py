"""The command line: starts or resumes a run, turns its errors into sentences and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from bt_kernels.trainer.checkpoint import load_checkpoint
from bt_kernels.trainer.config import Config, build_parser, resumed_config
from bt_kernels.trainer.data import load_split
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.pretrain import Pretraining, train
from bt_kernels.trainer.processes import Processes
from bt_kernels.trainer.run_folder import RunFolder, write_json

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 finished, 1 refused or failed, 130 interrupted."""
    processes = Processes.join()
    try:
        given = processes.share(lambda: vars(build_parser().parse_args(arguments)))
    except SystemExit:  # --help, or what the parser refuses
        processes.leave()
        raise
    resume = given.pop("resume")
    folder = RunFolder(Path(given.get("run_dir", Config.run_dir)))
    try:
        status = run(given, folder, resume, processes)
    except TrainerError as error:
        if processes.first:
            print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        if processes.first:
            saved = "go on with --resume" if folder.checkpoint.exists() else "nothing was saved yet"
            print(f"\nInterrupted; {saved}.", file=sys.stderr)
        return INTERRUPTED  # without waiting for the other ranks, which may be anywhere
    processes.leave()
    return status


def open_run(given: dict[str, object], folder: RunFolder, resume: bool) -> tuple[Config, dict[str, Any] | None]:
    """Open the folder of a new or a resumed run; return its configuration and what training goes on from."""
    if resume:
        folder.open_existing()
        checkpoint = load_checkpoint(folder.checkpoint)
        return resumed_config(checkpoint["config"], given), checkpoint["training"]
    config = Config(**given)  # type: ignore[arg-type]
    folder.open_new()
    return config, None


def set_threads(processes: Processes) -> None:
    """Share the cores among this machine's processes."""
    # PyTorch counts the machine's cores; a container may have been given fewer. And torchrun, unless told
    # otherwise by OMP_NUM_THREADS, sets it to 1, however many cores there are.
    cores = joblib.cpu_count()
    threads = min(torch.get_num_threads(), cores) if processes.size == 1 else cores // processes.local_size
    torch.set_num_threads(max(1, threads))


def run(given: dict[str, object], folder: RunFolder, resume: bool, processes: Processes) -> int:
    """Start or resume a run and take it to its end.

    Args:
        given: Options given on the command line.
        folder: The run's folder.
        resume: Go on from the folder's checkpoint.
        processes: Those that train; only the first one evaluates.
    """
    config, training = processes.share(lambda: open_run(given, folder, resume))
    set_threads(processes)
    digits = load_split(config.image_size, config.seed)
    state = Pretraining(config, digits.train_images, processes)
    if training is not None:
        state.load_state_dict(training)
    processes.on_first(lambda: write_json(folder.config, config.as_dict()))
    if processes.first:
        print(describe_start(state, folder), file=sys.stderr)
    if not train(state, folder):
        if processes.first:
            launcher = f"torchrun --nproc-per-node {processes.local_size}" if processes.size > 1 else "python"
            print(
                f"Interrupted after step {state.step} of {state.total_steps}, checkpoint saved; go on with:\n"
                f"  {launcher} -m bt_kernels.trainer --resume --run-dir {folder.root}",
                file=sys.stderr,
            )
        return INTERRUPTED

    processes.leave()  # before the evaluation, in which batch norm must not wait for the other ranks
    if not processes.first:
        return 0
    from bt_kernels.trainer.report import finish, format_table  # matplotlib is slow to import

    print("Evaluating the frozen features ...", file=sys.stderr)
    accuracies = finish(state, digits, folder)
    print(
        "\nAccuracy (%) of a linear classifier on frozen features, held-out images, mean ± std over draws:\n"
    )
    print(format_table(accuracies))
    print(f"\nRun folder  {folder.root}\nPictures    {folder.pictures}")
    return 0


def describe_start(state: Pretraining, folder: RunFolder) -> str:
    """One line: what is trained, on what, and where it is written."""
    device, processes = str(state.device), ""
    if state.processes.size > 1:
        device = state.device.type
        norm = "each its own rows'" if device == "cpu" else "the whole batch's"
        processes = f", {state.processes.size} processes (batch-norm statistics: {norm})"
    return (
        f"{state.config.backbone} on {len(state.images)} unlabelled digits, {state.total_steps} steps of "
        f"{state.config.batch_size} images, device {device}{processes}, run folder {folder.root}"
    )
