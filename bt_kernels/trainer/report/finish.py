"""The end of a run: exported weights, accuracies, pictures, summary, and what is said on the console."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from bt_kernels import __version__
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import TrainingData
from bt_kernels.trainer.evaluate.few_labels import Accuracy, label_efficiency
from bt_kernels.trainer.model.network import BarlowTwinsNetwork, build_network
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.report.pictures.accuracy import draw_accuracies
from bt_kernels.trainer.report.subject import LabelledSample, features_of, sample_of
from bt_kernels.trainer.run.files import write_json
from bt_kernels.trainer.run.metrics import StepMetrics, read_metrics
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.weights.export import export_backbone

Accuracies = dict[str, dict[str, Accuracy]]  # representation → labels per class → accuracy


def finish(
    config: Config,
    network: BarlowTwinsNetwork,
    data: TrainingData,
    folder: RunFolder,
    *,
    device: torch.device,
    loss_backend: str,
    steps: int,
    seconds: Mapping[str, float],
) -> str:
    """Export and evaluate a trained network, draw its pictures, and write the summary: the run is finished.

    The digits, few as they are, get the accuracy of a linear classifier by labels per class. Of other labelled
    data sets the nearest-neighbour accuracy of the last step stands in the summary; see ``trainer.evaluate``.

    Args:
        config: The run's options.
        network: Trained, on ``device``.
        data: What it was trained on.
        folder: The run's.
        device: Where to evaluate.
        loss_backend: What computed the loss.
        steps: Training steps done.
        seconds: Spent in them and around them.

    Returns:
        What there is to say about the result.

    Raises:
        TrainerError: a file cannot be written, or the training images cannot be read.
    """
    export_backbone(network.backbone, folder.root, config)
    networks = {"trained": network, "untrained": build_network(config).to(device)}
    metrics = read_metrics(folder.metrics)
    sample = sample_of(config)
    start = time.perf_counter()
    features = features_of(networks, sample) if sample is not None else {}
    accuracies = evaluate_digits(config, features, sample) if config.data == "digits" and sample else {}
    evaluated = time.perf_counter()

    draw.draw_curves(folder.pictures, metrics, config)
    draw.draw_views(folder.pictures, networks, config, data, sample, device)
    if sample is not None:
        draw.draw_features(folder.pictures, features, sample, config)
    if accuracies:
        draw_accuracies(folder.pictures / "accuracy.png", accuracies)
    drawn = time.perf_counter()
    times = {**seconds, "evaluation": evaluated - start, "pictures": drawn - evaluated}
    last = metrics[-1] if metrics else None
    summary = summarise(config, data, sample, accuracies, last, steps, times, device)
    write_json(folder.summary, summary | {"loss_backend": loss_backend})
    return describe(accuracies, last)


def evaluate_digits(config: Config, features: Mapping[str, Any], sample: LabelledSample) -> Accuracies:
    """Return the accuracy with few labels of every network's features, and of raw pixels."""
    pixels = tuple(images.flatten(1).numpy() for images in (sample.train_images, sample.test_images))
    return {
        name: label_efficiency(
            train, sample.train_labels, test, sample.test_labels, draws=config.label_draws, seed=config.seed
        )
        for name, (train, test) in {**features, "pixels": pixels}.items()
    }


def summarise(
    config: Config,
    data: TrainingData,
    sample: LabelledSample | None,
    accuracies: Accuracies,
    last: StepMetrics | None,
    steps: int,
    seconds: Mapping[str, float],
    device: torch.device,
) -> dict[str, Any]:
    """Return the content of summary.json; accuracies are shares in [0, 1]."""
    packages = ("torch", "torchvision", "scikit-learn", "numpy", "matplotlib")
    versions = {"python": platform.python_version(), "bt_kernels": __version__}
    names = ("loss", "on_diagonal", "off_diagonal", "knn_accuracy", "unreadable_images")
    return {
        "accuracy": {
            name: {labels: asdict(accuracy) for labels, accuracy in by_labels.items()}
            for name, by_labels in accuracies.items()
        },
        "final": {name: getattr(last, name) for name in names} if last else None,
        "steps": steps,
        "images": {"train": data.images} | ({"test": len(sample.test_labels)} if accuracies and sample else {}),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "seed": config.seed,
        "device": str(device),
        "precision": config.precision,
        "threads": torch.get_num_threads(),
        "versions": versions | {name: version(name) for name in packages},
    }


def describe(accuracies: Accuracies, last: StepMetrics | None) -> str:
    """What the console says about the result."""
    parts = []
    if accuracies:
        title = "Accuracy (%) of a linear classifier on frozen features, held-out images, mean ± std over draws:"
        parts += ["", title, "", format_table(accuracies)]
    elif last is not None and last.knn_accuracy is not None:
        parts.append(f"Nearest-neighbour accuracy of the held-out images: {100 * last.knn_accuracy:.1f} %")
    if last is not None and last.unreadable_images:
        parts.append(f"Reads of images that failed, each replaced by another image: {last.unreadable_images}.")
    return "\n".join(parts)


def format_table(accuracies: Accuracies) -> str:
    """Return the accuracies in % with their spread, one representation per row."""
    columns = list(next(iter(accuracies.values())))
    width = 13
    lines = ["labels per class".ljust(18) + "".join(column.rjust(width) for column in columns)]
    for name, by_labels in accuracies.items():
        cells = [
            f"{100 * value.mean:.1f} ± {100 * value.std:.1f}" if value.draws > 1 else f"{100 * value.mean:.1f}"
            for value in by_labels.values()
        ]
        lines.append(name.ljust(18) + "".join(cell.rjust(width) for cell in cells))
    return "\n".join(lines)
