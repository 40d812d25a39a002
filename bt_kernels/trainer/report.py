"""The end of a run: exported weights, accuracies, pictures, summary, and the table on the console."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bt_kernels import __version__, cross_correlation
from bt_kernels.trainer import pictures
from bt_kernels.trainer.augment import TwoViews
from bt_kernels.trainer.data import Digits
from bt_kernels.trainer.evaluate import Accuracy, centre_and_normalise, frozen_features, label_efficiency
from bt_kernels.trainer.model import BarlowTwinsNetwork, build_network
from bt_kernels.trainer.pretrain import Pretraining
from bt_kernels.trainer.progress import read_metrics
from bt_kernels.trainer.run_folder import RunFolder, write_atomically, write_json

_SHOWN_VIEWS = 10

Accuracies = dict[str, dict[str, Accuracy]]  # representation → labels per class → accuracy
Representations = dict[
    str, tuple[np.ndarray, np.ndarray]
]  # name → features of the training and the test images


def finish(state: Pretraining, digits: Digits, folder: RunFolder) -> Accuracies:
    """Evaluate a trained network and write everything a finished run holds; return the accuracies."""
    config = state.config
    untrained = build_network(config).to(state.device)
    export_backbone(state.network, folder.backbone(config.backbone))

    start = time.perf_counter()
    representations = represent({"trained": state.network, "untrained": untrained}, digits)
    accuracies = {
        name: label_efficiency(
            train, digits.train_labels, test, digits.test_labels, draws=config.label_draws, seed=config.seed
        )
        for name, (train, test) in representations.items()
    }
    evaluated = time.perf_counter()
    draw_pictures(state, untrained, representations, accuracies, digits, folder)
    drawn = time.perf_counter()

    seconds = {"training": state.seconds, "evaluation": evaluated - start, "pictures": drawn - evaluated}
    write_json(folder.summary, summarise(state, digits, accuracies, seconds, folder))
    return accuracies


def export_backbone(network: BarlowTwinsNetwork, path: Path) -> None:
    """Write the backbone's state_dict with torchvision's keys, without the classifier."""
    backbone = {name: tensor.cpu().contiguous() for name, tensor in network.backbone.state_dict().items()}
    write_atomically(path, lambda temporary: torch.save(backbone, temporary))


def represent(networks: Mapping[str, BarlowTwinsNetwork], digits: Digits) -> Representations:
    """Return the features, (N, F) and (M, F), of every network and of raw pixels."""
    train, test = digits.train_images, digits.test_images
    representations = {}
    for name, network in networks.items():
        features = frozen_features(network, torch.cat([train, test]), calibration=train)
        representations[name] = (features[: len(train)], features[len(train) :])
    representations["pixels"] = (train.flatten(1).numpy(), test.flatten(1).numpy())
    return representations


@torch.no_grad()
def correlation_of_views(network: BarlowTwinsNetwork, state: Pretraining) -> np.ndarray:
    """Return C, (D, D), of two views of all training images in one batch, normalised as in training."""
    view_a, view_b = TwoViews(torch.Generator().manual_seed(state.config.seed))(state.images)
    training = network.training
    running = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    z_a, z_b = network(torch.cat([view_a, view_b])).chunk(2)
    network.train(training)
    network.load_state_dict(running, strict=False)  # the pass above moved the running averages
    return cross_correlation(z_a, z_b).cpu().numpy()


def draw_pictures(
    state: Pretraining,
    untrained: BarlowTwinsNetwork,
    representations: Representations,
    accuracies: Accuracies,
    digits: Digits,
    folder: RunFolder,
) -> None:
    """Write all pictures of the run."""
    config = state.config
    pictures.draw_loss_curves(folder.pictures / "loss_curves.png", read_metrics(folder.metrics), config.lambd)
    pictures.draw_accuracies(folder.pictures / "accuracy.png", accuracies)
    pictures.draw_cross_correlation(
        folder.pictures / "cross_correlation.png",
        correlation_of_views(untrained, state),
        correlation_of_views(state.network, state),
    )
    points = {
        name: pictures.embed_2d(centre_and_normalise(*representations[name])[1], config.seed)
        for name in ("untrained", "trained")
    }
    pictures.draw_embedding(
        folder.pictures / "embedding.png", points["untrained"], points["trained"], digits.test_labels
    )
    shown = digits.train_images[:_SHOWN_VIEWS]
    views = TwoViews(torch.Generator().manual_seed(config.seed))(shown)
    pictures.draw_augmented_views(folder.pictures / "augmented_views.png", shown, *views)


def summarise(
    state: Pretraining,
    digits: Digits,
    accuracies: Accuracies,
    seconds: Mapping[str, float],
    folder: RunFolder,
) -> dict[str, Any]:
    """Return the content of summary.json; accuracies are shares in [0, 1]."""
    last = read_metrics(folder.metrics)[-1]
    packages = ("torch", "torchvision", "scikit-learn", "numpy", "matplotlib")
    versions = {"python": platform.python_version(), "bt_kernels": __version__}
    return {
        "accuracy": {
            name: {labels: asdict(accuracy) for labels, accuracy in by_labels.items()}
            for name, by_labels in accuracies.items()
        },
        "final": {"loss": last.loss, "on_diagonal": last.on_diagonal, "off_diagonal": last.off_diagonal},
        "steps": state.step,
        "images": {"train": len(digits.train_images), "test": len(digits.test_images)},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "seed": state.config.seed,
        "device": str(state.device),
        "threads": torch.get_num_threads(),
        "versions": versions | {name: version(name) for name in packages},
    }


def format_table(accuracies: Accuracies) -> str:
    """Return the accuracies in % with their spread, one representation per row."""
    columns = list(next(iter(accuracies.values())))
    width = 13
    lines = ["labels per class".ljust(18) + "".join(column.rjust(width) for column in columns)]
    for name, by_labels in accuracies.items():
        cells = [
            f"{100 * value.mean:.1f} ± {100 * value.std:.1f}"
            if value.draws > 1
            else f"{100 * value.mean:.1f}"
            for value in by_labels.values()
        ]
        lines.append(name.ljust(18) + "".join(cell.rjust(width) for cell in cells))
    return "\n".join(lines)
