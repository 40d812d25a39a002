"""The authors' linear protocol: a classifier on the frozen backbone's features of cropped, flipped images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy, ranks, top_accuracy
from bt_kernels.trainer.evaluate.features import extract_features, load_backbone, training_features
from bt_kernels.trainer.evaluate.options import LinearOptions, SemiSupervisedOptions
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.evaluate.progress import bar
from bt_kernels.trainer.evaluate.result import Evaluation, Repetition
from bt_kernels.trainer.evaluate.unfinished import Unfinished
from bt_kernels.trainer.model.network import three_channels
from bt_kernels.trainer.precision import Precision

# One epoch's features (n, F) and labels (n,), given the images' order and the epoch over all repetitions.
Batches = Callable[[np.ndarray, int], Iterator[tuple[Tensor, Tensor]]]


def evaluate_linear(options: LinearOptions, resume: str | None = None) -> Evaluation:
    """Train a linear classifier, once per seed.

    Args:
        options: The evaluation's.
        resume: Whether to go on from where it was left; see ``Unfinished``.

    Raises:
        TrainerError: weights or data cannot be read or do not fit, there is nothing to resume, or the training
            diverges.
    """
    device = resolve_device(options.device)
    precision = Precision(options.precision, device)
    backbone, width = load_backbone(options)
    train, test = open_parts(options)
    unfinished = Unfinished(options, resume, train, test)
    backbone.to(device)
    if options.compile:
        backbone.compile()
    size = options.batch_size
    test_features, test_labels = extract_features(
        backbone, test, precision, device, batch_size=size, description="test features"
    )
    images = len(train.labels)
    # The backbone is frozen: of images that are the same in all epochs, so are the features.
    if options.cache_features or options.data == "digits":
        features, labels = training_features(backbone, train, precision, device, size)
        images = len(labels)
        batches = of_features(features, labels, size)
    else:
        batches = of_images(backbone, train, precision, size)
    for repeat in range(len(unfinished.repetitions), options.seeds):
        classifier = new_classifier(width, train.classes, options.seed + repeat).to(device)
        on_device = test_features.to(device), test_labels.to(device)
        measured = fit(classifier, batches, images, *on_device, options, repeat, unfinished)
        best = max(measured, key=lambda accuracy: accuracy.top1)
        unfinished.done(Repetition(options.seed + repeat, measured[-1], best, measured.index(best) + 1))
    return Evaluation("linear", options, unfinished.repetitions, train, test)


def new_classifier(width: int, classes: int, seed: int) -> nn.Linear:
    """Return a linear layer with weights from a normal distribution of deviation 0.01 and biases 0, on the CPU."""
    classifier = nn.utils.skip_init(nn.Linear, width, classes)
    nn.init.normal_(classifier.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(classifier.bias)
    return classifier


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the images in an epoch, (N,) int64."""
    return np.random.default_rng([seed, epoch]).permutation(images)


def of_features(features: Tensor, labels: Tensor, batch_size: int) -> Batches:
    """Return batches of features that are known already, (N, F) with labels (N,)."""

    def batches(order: np.ndarray, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.from_numpy(order).split(batch_size):
            yield features[part], labels[part]

    return batches


def of_images(backbone: nn.Module, images: LabelledImages, precision: Precision, batch_size: int) -> Batches:
    """Return batches of the features of cropped and flipped images; those that cannot be read are left out."""
    device = next(backbone.parameters()).device

    def batches(order: np.ndarray, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in images.batches(order, batch_size, augment=True, epoch=epoch, leave_out=True):
            if len(labels) == 0:
                continue
            with torch.no_grad(), precision.autocast():
                features = backbone(three_channels(pixels.to(device, non_blocking=True)))
            yield features.float(), labels

    return batches


def fit(
    classifier: nn.Linear,
    batches: Batches,
    images: int,
    test_features: Tensor,  # (M, F)
    test_labels: Tensor,  # (M,)
    options: LinearOptions,
    repeat: int,
    unfinished: Unfinished | None = None,
) -> list[TopAccuracy]:
    """Train a classifier, in place; return its accuracies on the test features after every epoch.

    Every epoch is saved in ``unfinished``, and those that it holds already are not done again.

    Raises:
        TrainerError: the loss is not finite.
    """
    device = test_features.device
    optimizer = SGD(
        classifier.parameters(),
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    schedule = CosineAnnealingLR(optimizer, options.epochs)
    parts = {"classifier": classifier, "optimizer": optimizer, "schedule": schedule}
    measured = unfinished.restore(parts) if unfinished is not None else []
    left = range(len(measured), options.epochs)
    for epoch in bar(left, len(left), f"linear classifier, seed {options.seed + repeat}, epochs"):
        order = epoch_order(images, options.seed + repeat, epoch)
        total = torch.zeros((), device=device)
        steps = batches(order, repeat * options.epochs + epoch)
        for features, labels in bar(
            steps, -(-images // options.batch_size), describe_epoch(options, repeat, epoch)
        ):
            loss = F.cross_entropy(classifier(features.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        schedule.step()
        check_finite(total.item(), epoch, "--learning-rate")
        with torch.no_grad():
            measured.append(top_accuracy(ranks(classifier(test_features), test_labels)))
        if unfinished is not None:
            unfinished.save(parts, measured)
    return measured


def describe_epoch(options: LinearOptions | SemiSupervisedOptions, repeat: int, epoch: int) -> str:
    """Say which epoch, from 0, of which repetition this is."""
    seed = f"seed {options.seed + repeat}, " if options.seeds > 1 else ""
    return f"{seed}epoch {epoch + 1}/{options.epochs}"


def check_finite(loss: float, epoch: int, flag: str) -> None:
    """Raise TrainerError unless the sum of an epoch's losses is finite."""
    if not math.isfinite(loss):
        raise TrainerError(f"the classifier's loss is {loss} in epoch {epoch + 1}; lower {flag}")
