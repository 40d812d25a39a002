"""The command line: starts or resumes a run, turns its errors into sentences and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import joblib
import torch

from bt_kernels.trainer.checkpoint import load_checkpoint
from bt_kernels.trainer.config import Config, build_parser, resumed_config
from bt_kernels.trainer.data import load_split
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.pretrain import Pretraining, train
from bt_kernels.trainer.run_folder import RunFolder, write_json

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 finished, 1 refused or failed, 130 interrupted."""
    given = vars(build_parser().parse_args(arguments))
    resume = given.pop("resume")
    folder = RunFolder(Path(given.get("run_dir", Config.run_dir)))
    try:
        return run(given, folder, resume)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        saved = "go on with --resume" if folder.checkpoint.exists() else "nothing was saved yet"
        print(f"\nInterrupted; {saved}.", file=sys.stderr)
        return INTERRUPTED


def run(given: dict[str, object], folder: RunFolder, resume: bool) -> int:
    """Start or resume a run and take it to its end.

    Args:
        given: Options given on the command line.
        folder: The run's folder.
        resume: Go on from the folder's checkpoint.
    """
    if resume:
        folder.open_existing()
        checkpoint = load_checkpoint(folder.checkpoint)
        config = resumed_config(checkpoint["config"], given)
    else:
        config = Config(**given)  # type: ignore[arg-type]
        folder.open_new()
    # PyTorch counts the machine's cores; a container may have been given fewer.
    torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))
    digits = load_split(config.image_size, config.seed)
    state = Pretraining(config, digits.train_images)
    if resume:
        state.load_state_dict(checkpoint["training"])
    write_json(folder.config, config.as_dict())
    print(
        f"{config.backbone} on {len(digits.train_images)} unlabelled digits, {state.total_steps} steps of "
        f"{config.batch_size} images, device {state.device}, run folder {folder.root}",
        file=sys.stderr,
    )
    if not train(state, folder):
        print(
            f"Interrupted after step {state.step} of {state.total_steps}, checkpoint saved; go on with:\n"
            f"  python -m bt_kernels.trainer --resume --run-dir {folder.root}",
            file=sys.stderr,
        )
        return INTERRUPTED

    from bt_kernels.trainer.report import finish, format_table  # matplotlib is slow to import

    print("Evaluating the frozen features ...", file=sys.stderr)
    accuracies = finish(state, digits, folder)
    print(
        "\nAccuracy (%) of a linear classifier on frozen features, held-out images, mean ± std over draws:\n"
    )
    print(format_table(accuracies))
    print(f"\nRun folder  {folder.root}\nPictures    {folder.pictures}")
    return 0
