"""``python -m bt_kernels.trainer.report RUN_DIR``: a run's pictures again, also of one that goes on or was stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bt_kernels.trainer.config.presets import saved_config
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.report.subject import features_of, sample_of, some_views
from bt_kernels.trainer.run.checkpoint import load_checkpoint
from bt_kernels.trainer.run.metrics import read_metrics
from bt_kernels.trainer.run.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; return the exit status: 0 drawn, 1 there is nothing to draw or it failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bt_kernels.trainer.report", description="Draw the pictures of a run from its folder."
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's folder")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to (default: RUN_DIR/pictures)")
    given = parser.parse_args(arguments)
    try:
        drawn = draw_run(RunFolder(given.run_dir), given.output)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Pictures  {drawn}")
    return 0


def draw_run(folder: RunFolder, output: Path | None = None) -> Path:
    """Draw the pictures of a run from its metrics and its latest checkpoint; return their folder.

    Raises:
        TrainerError: there is no run or no checkpoint, or a file cannot be read or written.
    """
    steps = folder.checkpoints.steps()
    if not steps:
        raise TrainerError(f"{folder.root} has no checkpoint to draw the pictures of")
    # Without the folder's lock, and without moving what is damaged: the run may be going on.
    content = load_checkpoint(folder.checkpoints.path(steps[-1]))
    config = saved_config(content["config"])
    processes = Processes()
    device = processes.take_device(config.device)
    network = build_network(config)
    network.load_state_dict(content["training"]["network"])
    networks = {"trained": network.to(device), "untrained": build_network(config).to(device)}
    data = open_training_data(config, processes, device)
    pictures = output or folder.pictures
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainerError(f"cannot write to {pictures}: {error.strerror}") from None
    draw.draw_curves(pictures, read_metrics(folder.metrics), config)
    draw.draw_views(pictures, networks, some_views(data), device)
    sample = sample_of(config)
    if sample is not None:
        draw.draw_features(pictures, features_of(networks, sample), sample, config)
    return pictures


if __name__ == "__main__":
    sys.exit(main())
