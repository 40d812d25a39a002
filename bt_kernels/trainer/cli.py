"""The command line: starts or resumes a run, turns its errors into sentences and exit statuses."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bt_kernels.trainer.command_line import INTERRUPTED, describe_options, set_threads
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import build_parser, given_options, resumed_config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.network import BarlowTwinsNetwork, build_network
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.parallel.replicas import full_tensors
from bt_kernels.trainer.precision import settle_precision
from bt_kernels.trainer.run.console import outlived_console
from bt_kernels.trainer.run.files import write_json
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.run.signals import Stop
from bt_kernels.trainer.training.continuation import begin_from
from bt_kernels.trainer.training.initial_weights import begin_with
from bt_kernels.trainer.training.loop import train
from bt_kernels.trainer.training.neighbours import settle_neighbours
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.training.resume import resume

PREEMPTED = 75  # sysexits.h: a temporary failure, start the command again


@dataclass(frozen=True)
class Opened:
    """A run whose folder is open: what it goes by, and what it goes on from."""

    config: Config
    training: dict[str, Any] | None  # of the checkpoint
    finished: bool = False
    notes: list[str] = field(default_factory=list)  # what was taken for granted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 finished, 1 refused or failed, 130 interrupted, 75 stopped by SIGTERM, SIGUSR1 or SIGHUP
        with a checkpoint saved.
    """
    with outlived_console():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    processes = Processes.join()
    try:
        given = processes.share(lambda: vars(build_parser(arguments).parse_args(arguments)))
    except SystemExit:  # --help, or what the parser refuses
        processes.leave()
        raise
    try:
        with ExitStack() as locks:
            status = run(given, processes, locks)
    except TrainerError as error:
        if processes.first:
            print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        if processes.first:
            print("\nInterrupted; what was saved before is kept, --resume goes on from it.", file=sys.stderr)
        return INTERRUPTED  # without waiting for the other ranks, which may be anywhere
    processes.leave()
    return status


def open_run(given: Mapping[str, Any], resume: str | None, source: Path | None, locks: ExitStack) -> Opened:
    """Open the folder of a new or a resumed run, on the first rank.

    Args:
        given: Options of the command line.
        resume: "always", "auto" or None.
        source: A checkpoint that a new run continues from.
        locks: Receives the folder's lock.
    """
    if resume == "always" and source is not None:
        raise TrainerError(
            "--resume goes on with the run in --run-dir, --continue-from starts a new one; give one of them"
        )
    sources = given_options(given)
    options = sources.options
    if source is not None and options.get("initial_weights"):
        raise TrainerError(
            "--continue-from begins with the weights of another run and --initial-weights with those of a file; "
            "give one of them"
        )
    folder = RunFolder(Path(options.get("run_dir", Config.run_dir)))
    try:
        if resume == "auto" and folder.finished:
            return Opened(Config(**options), None, finished=True)
        if resume == "always" or (resume == "auto" and folder.checkpoints.steps()):
            locks.enter_context(folder.open_existing())
            checkpoint = folder.checkpoints.load_latest(warn)
            config = resumed_config(checkpoint["config"], sources)
            # The folder may have been moved since.
            config, notes = settle_precision(replace(anchored(config), run_dir=str(folder.root)), by_name=True)
            return Opened(config, checkpoint["training"], notes=notes)
        config, notes = anchored(Config(**options)), sources.assumed
        for settle, name in ((settle_precision, "precision"), (settle_neighbours, "knn_every")):
            config, said = settle(config, by_name=name in sources.single)
            notes += said
        locks.enter_context(folder.open_new())
        return Opened(config, None, notes=notes)
    except OSError as error:
        raise TrainerError(f"cannot use the run folder {folder.root}: {error.strerror}") from error


def anchored(config: Config) -> Config:
    """The configuration with its data's folder as an absolute path: it is saved, and holds wherever it is read."""
    return replace(config, data_dir=os.path.abspath(config.data_dir)) if config.data_dir else config


def warn(sentence: str) -> None:
    """Say what is wrong and does not end the run."""
    print(f"warning: {sentence}", file=sys.stderr)


def run(given: dict[str, Any], processes: Processes, locks: ExitStack) -> int:
    """Start or resume a run and take it to its end; return the exit status.

    Args:
        given: Options given on the command line.
        processes: Those that train; only the first one reports.
        locks: Keeps other runs out of the folder while it is open.
    """
    how, source = given.pop("resume", None), given.pop("continue_from", None)
    allow_changed_data = given.pop("allow_changed_data", False)
    if allow_changed_data and how is None:
        raise TrainerError("--allow-changed-data is for a run that goes on; add --resume, or leave it out")
    opened = processes.share(lambda: open_run(given, how, source, locks))
    config, folder = opened.config, RunFolder(Path(opened.config.run_dir))
    if opened.finished:
        if processes.first:
            print(f"{folder.finished_sentence}; nothing is left to do.", file=sys.stderr)
        return 0
    set_threads(processes)
    state = Pretraining(config, processes)
    if (training := opened.training) is not None:
        changed = processes.together(lambda: resume(state, training, allow_changed_data))
        opened.notes.extend([changed] if changed else [])
    elif source is not None:
        processes.together(lambda: begin_from(source, state, warn if processes.first else lambda sentence: None))
    elif config.initial_weights:
        opened.notes.extend(processes.together(lambda: begin_with(Path(config.initial_weights), state)))
    processes.on_first(lambda: write_json(folder.config, config.as_dict()))
    if processes.first:
        notes = [*opened.notes, *state.data.notes]
        print(describe_options(config), describe_start(state, folder), *notes, sep="\n", file=sys.stderr)
    reason = train(state, folder)
    if reason != Stop.NO:
        if processes.first:
            print(describe_stop(state, folder, reason), file=sys.stderr)
        return INTERRUPTED if reason == Stop.INTERRUPTED else PREEMPTED
    return report(state, folder)


def report(state: Pretraining, folder: RunFolder) -> int:
    """Evaluate a trained network, draw and write what a finished run holds; return the exit status."""
    config, processes, device, first = state.config, state.processes, state.device, state.processes.first
    network = whole_network(state)
    finished: dict[str, Any] = {
        "loss_backend": state.loss_backend.name,
        "steps": state.step,
        "seconds": {"training": state.seconds, "waiting_for_data": state.waiting_seconds},
    }
    data = state.data
    processes.leave()  # before the evaluation, in which batch norm must not wait for the other ranks
    if not first:
        return 0
    from bt_kernels.trainer.report.finish import finish  # matplotlib is slow to import

    print("Writing the weights, the evaluation and the pictures ...", file=sys.stderr)
    try:
        print(finish(config, network, data, folder, device=device, **finished))
    except OSError as error:  # matplotlib's, of a picture; the weights and the checkpoint are written by now
        raise TrainerError(
            f"cannot write the pictures: {error.strerror or error}; --resume draws them again"
        ) from error
    print(f"\nRun folder  {folder.root}\nPictures    {folder.pictures}")
    return 0


def whole_network(state: Pretraining) -> BarlowTwinsNetwork:
    """Return the trained network as one process has it; all ranks have to ask."""
    if state.processes.size == 1 and not state.config.compile:  # compiled, it would be compiled again for each use
        return state.network
    weights = full_tensors(dict(state.network.state_dict()), keep=state.processes.first)
    network = build_network(state.config)
    if state.processes.first:
        network.load_state_dict(weights)
    return network.to(state.device)


def describe_start(state: Pretraining, folder: RunFolder) -> str:
    """One line: what is trained, on what, and where it is written."""
    device, processes = str(state.device), ""
    if state.processes.size > 1:
        device = state.device.type
        norm = "each its own rows'" if device == "cpu" else "the whole batch's"
        processes = f", {state.processes.size} processes (batch-norm statistics: {norm})"
    begin = f", going on after step {state.step}" if state.step else ""
    return (
        f"{state.config.backbone} on {state.data.description}, {state.total_steps} steps of "
        f"{state.config.batch_size} images, device {device}{processes}, loss backend "
        f"{state.loss_backend}, run folder {folder.root}{begin}"
    )


def describe_stop(state: Pretraining, folder: RunFolder, reason: Stop) -> str:
    """What was saved, and the command that goes on from it."""
    word = "Interrupted" if reason == Stop.INTERRUPTED else "Told to stop"
    return (
        f"{word} after step {state.step} of {state.total_steps}, checkpoint saved; go on with:\n"
        f"  {launcher(state.processes)} -m bt_kernels.trainer --resume --run-dir {shlex.quote(str(folder.root))}"
    )


def launcher(processes: Processes) -> str:
    """The command that starts a module in this Python as this run was started; run from the same folder."""
    folder = Path(sys.executable).parent

    def on_path(name: str) -> bool:
        found = shutil.which(name)
        return found is not None and Path(found).absolute().parent == folder  # a venv's is a link

    python = next((name for name in ("python", "python3") if on_path(name)), None)
    if python is None:
        below = os.path.relpath(sys.executable)
        python = shlex.quote(sys.executable if below.startswith(os.pardir) else below)
    if processes.size == 1:
        return python
    torchrun = "torchrun" if on_path("torchrun") else f"{python} -m torch.distributed.run"
    return f"{torchrun} --nproc-per-node {processes.local_size}"
