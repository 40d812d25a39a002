"""``python -m bt_kernels.trainer.report RUN_DIR``: a run's pictures again, also of a run that goes on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.option import OptionParser, path_argument
from bt_kernels.trainer.config.presets import saved_config
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.few_labels import Accuracy
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.report.pictures.accuracy import draw_accuracies
from bt_kernels.trainer.report.subject import BATCH, features_of, sample_of
from bt_kernels.trainer.run.checkpoint import load_checkpoint
from bt_kernels.trainer.run.metrics import read_metrics
from bt_kernels.trainer.run.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; return the exit status: 0 drawn, 1 there is nothing to draw or it failed."""
    parser = OptionParser(
        prog="python -m bt_kernels.trainer.report",
        description="Draw the pictures of a run from its folder: finished, stopped or going on.",
    )
    parser.add_argument("run_dir", type=path_argument, metavar="RUN_DIR", help="the run's folder")
    parser.add_argument("--output", type=path_argument, metavar="DIR", help="where to (default: RUN_DIR/pictures)")
    parser.add_argument("--device", default="auto", help="torch device to evaluate on (default: a GPU, if any)")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=os.path.expanduser,
        help="where the images lie (default: where the run had them)",
    )
    given = parser.parse_args(arguments)
    folder = RunFolder(given.run_dir)
    output = given.output or folder.pictures
    try:
        draw_run(folder, output, device=given.device, data_dir=given.data_dir)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Pictures  {output}")
    return 0


def draw_run(folder: RunFolder, output: Path, device: str = "auto", data_dir: str | None = None) -> None:
    """Draw the pictures of a run: of its metrics and, if it has one, of its latest checkpoint.

    Args:
        folder: The run's; it is only read, without its lock.
        output: Destination.
        device: What to evaluate on, in place of the run's.
        data_dir: Where the images lie, if not where the run had them.

    Raises:
        TrainerError: there is no run or nothing to draw, or a file cannot be read or written.
    """
    changed = {"device": device} | ({} if data_dir is None else {"data_dir": data_dir})
    config = saved_config(_read_json(folder.config) | changed)
    metrics, network = read_metrics(folder.metrics), _latest_network(folder)
    if not metrics and network is None:
        raise TrainerError(f"{folder.root} has no metrics and no checkpoint yet; wait for the run's first steps")
    try:
        output.mkdir(parents=True, exist_ok=True)
        draw.draw_curves(output, metrics, config)
        if network is not None:
            _draw_networks(output, config, network)
        if folder.finished:
            _draw_accuracies(output, _read_json(folder.summary))
    except OSError as error:
        raise TrainerError(f"cannot write to {output}: {error.strerror or error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
        raise ValueError
    except OSError as error:
        raise TrainerError(f"{path.parent} is no run: cannot read {path.name} ({error.strerror})") from None
    except ValueError:
        raise TrainerError(f"{path} is damaged; copy it anew from where the run was") from None


def _latest_network(folder: RunFolder) -> Mapping[str, Any] | None:
    """Return the state of the network from the latest checkpoint that can be read; None if there is none."""
    for step in reversed(folder.checkpoints.steps()):
        try:
            return load_checkpoint(folder.checkpoints.path(step))["training"]["network"]
        except TrainerError as error:
            print(f"warning: {error}", file=sys.stderr)
    print("warning: there is no checkpoint; what is drawn is the metrics alone", file=sys.stderr)
    return None


def _draw_networks(output: Path, config: Config, state: Mapping[str, Any]) -> None:
    config = replace(config, batch_size=min(config.batch_size, BATCH), accumulate=1)  # on whatever machine this is
    device = Processes().take_device(config.device)
    network = build_network(config)
    network.load_state_dict(state)
    networks = {"trained": network.to(device), "untrained": build_network(config).to(device)}
    sample = sample_of(config)
    draw.draw_views(output, networks, config, open_training_data(config, Processes(), device), sample, device)
    if sample is not None:
        draw.draw_features(output, features_of(networks, sample), sample, config)


def _draw_accuracies(output: Path, summary: Mapping[str, Any]) -> None:
    if summary["accuracy"]:
        accuracies = {
            name: {labels: Accuracy(**values) for labels, values in by_labels.items()}
            for name, by_labels in summary["accuracy"].items()
        }
        draw_accuracies(output / "accuracy.png", accuracies)


if __name__ == "__main__":
    sys.exit(main())
