"""One run: the trainer's steps with a variant's network and loss, then the accuracy of the frozen features."""

import os
import time
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper import networks
from benchmarks.paper.grid import VARIANTS, Run, Scale
from benchmarks.paper.losses import build_criterion
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import PRESETS
from bt_kernels.trainer.data import open_labelled
from bt_kernels.trainer.errors import Diverged, TrainerError
from bt_kernels.trainer.evaluate.few_labels import frozen_features, label_efficiency
from bt_kernels.trainer.evaluate.knn import knn_accuracy, usual_neighbours
from bt_kernels.trainer.evaluate.options import TEMPERATURE
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.training.health import measure
from bt_kernels.trainer.training.pretraining import Pretraining

STATISTICS_ROWS = 512
CIFAR_FOLDER = "cifar-10-batches-py"


def configure(scale: Scale, run: Run, data: str, data_dir: str, device: str) -> Config:
    """Return the trainer's options of a run: the preset of its data set, with the grid's optimizer.

    Raises:
        TrainerError: an option is out of range.
    """
    preset = dict(PRESETS["cifar"]) if data == "cifar10" else {}
    for name in ("scale_learning_rates", "warmup", "optimizer", "learning_rate_biases", "weight_decay"):
        preset.pop(name, None)
    preset |= {"data_dir": data_dir, "augment_on": "device"} if data == "cifar10" else {}
    return Config(
        **preset
        | {
            "backbone": "resnet18" if scale.backbone == "small" else scale.backbone,
            "projector": "-".join([str(run.width)] * 3),
            "image_size": scale.image_size,
            "lambd": run.lambd,
            "epochs": max(1, run.epochs),
            "batch_size": run.batch,
            "learning_rate": scale.rate(run.batch),
            "precision": scale.precision,
            "views": "together",
            "seed": run.seed,
            "device": device,
        }
    )


def check_data(data: str, data_dir: str) -> None:
    """Raise TrainerError if the data set is not on the disk: nothing is downloaded."""
    if data == "cifar10" and not (Path(os.path.expanduser(data_dir)) / CIFAR_FOLDER).is_dir():
        raise TrainerError(
            f"--data cifar10 needs --data-dir, a folder that holds {CIFAR_FOLDER}; got {data_dir!r}, which has "
            "none, and nothing is downloaded here"
        )


def prepare(scale: Scale, run: Run, config: Config) -> Pretraining:
    """Return the trainer's state of a run, with the variant's network and loss."""
    state = Pretraining(config, Processes())
    loss, change = VARIANTS[run.variant]
    network = networks.build(config, "small" if scale.backbone == "small" else "trainer", change)
    state.network = state.replica = network.to(state.device)
    state.criterion = build_criterion(loss, run.lambd)
    state.optimizer = build_optimizer(state.network, config)
    state.scheduler = build_scheduler(state.optimizer, config, state.data.steps_per_epoch)
    # The end of a run is measured below; here a collapse is a result, and must not end it.
    state.config = replace(config, statistics_every=state.total_steps + 1)
    return state


def execute(scale: Scale, run: Run, data: str, data_dir: str, device: str) -> dict:
    """Train and evaluate; return the run's entry in the result file, accuracies in [0, 1].

    Raises:
        TrainerError: the data cannot be read.
    """
    config = configure(scale, run, data, data_dir, device)
    state = prepare(scale, run, config)
    start = time.perf_counter()
    diverged, loss = None, None
    state.network.train()
    with closing(state.data.views(0)) as views:
        try:
            for _ in range(state.total_steps if run.epochs else 0):
                loss = state.train_step(next(views)).loss
        except Diverged as error:
            diverged = str(error)  # the weights are those before the step
        seconds = time.perf_counter() - start
        statistics = embedding_statistics(state, views)
    accuracies = evaluate(config, state.network, state.device, scale.label_draws)
    return {
        "settings": asdict(run),
        "steps": state.step,
        "learning_rate": config.learning_rate,
        "final_loss": loss,
        "diverged": diverged,
        "accuracy": accuracies,
        "embeddings": statistics,
        "seconds": {"training": round(seconds, 2), "all": round(time.perf_counter() - start, 2)},
    }


@torch.no_grad()
def embedding_statistics(state: Pretraining, views) -> dict[str, float]:
    """Measure the projector's embeddings of views of up to 512 images, in training mode."""
    batch = state.config.batch_size
    parts = list(islice(views, max(1, min(STATISTICS_ROWS, state.data.images) // batch)))
    view_a, view_b = (torch.cat([getattr(part, name) for part in parts]) for name in ("a", "b"))
    with state.precision.autocast():
        z_a, z_b = (z.float() for z in BarlowTwinsNetwork.forward(state.network, view_a, view_b))
    measured = asdict(measure(z_a, z_b, 0.0, lambda total: total))
    del measured["off_diagonal_rms"]  # of the loss's second term, which not every variant has
    return measured | {"rows": len(z_a)}


def evaluate(config: Config, network: BarlowTwinsNetwork, device: torch.device, draws: int) -> dict[str, float]:
    """Return the held-out accuracy of logistic regressions by labels per class ("1" ... "all"), and "knn"."""
    train, test = (open_labelled(config, part) for part in ("train", "test"))
    train_images, test_images = pixels(train), pixels(test)
    network.to(device)
    features, held_out = (frozen_features(network, images, train_images) for images in (train_images, test_images))
    accuracies = label_efficiency(features, train.labels, held_out, test.labels, draws, config.seed)
    k = usual_neighbours(len(features), train.classes)
    own = [torch.from_numpy(array) for array in (features, train.labels, held_out, test.labels)]
    return {name: accuracy.mean for name, accuracy in accuracies.items()} | {
        "knn": knn_accuracy(*own, k, TEMPERATURE, train.classes)[0]
    }


def pixels(images) -> Tensor:
    """Return all images of a part, (N, C, S, S)."""
    order = np.arange(len(images.labels))
    return torch.cat([batch for batch, _ in images.batches(order, 1000, augment=False)])
