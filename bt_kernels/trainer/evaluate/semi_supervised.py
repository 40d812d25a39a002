"""The semi-supervised protocol: backbone and classifier are fine-tuned on a few labels, 1 % or 10 %."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy, ranks, top_accuracy
from bt_kernels.trainer.evaluate.features import load_backbone
from bt_kernels.trainer.evaluate.labels import draw_labels, listed_labels, require_every_class
from bt_kernels.trainer.evaluate.linear import check_finite, describe_epoch, epoch_order, new_classifier
from bt_kernels.trainer.evaluate.options import SemiSupervisedOptions
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.evaluate.progress import bar
from bt_kernels.trainer.evaluate.result import Evaluation, Repetition
from bt_kernels.trainer.evaluate.unfinished import Unfinished
from bt_kernels.trainer.model.network import three_channels
from bt_kernels.trainer.precision import Precision
from bt_kernels.trainer.randomness import seed_rank


class Classifier(nn.Module):
    """Backbone and linear classifier: images (N, 1 or 3, S, S) to scores (N, classes)."""

    def __init__(self, backbone: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(three_channels(images)))


def evaluate_semi_supervised(options: SemiSupervisedOptions, resume: str | None = None) -> Evaluation:
    """Fine-tune on few labels, once per seed; drawn labels are other ones for every seed.

    Args:
        options: The evaluation's.
        resume: Whether to go on from where it was left; see ``Unfinished``.

    Raises:
        TrainerError: weights, data or the list of labels cannot be read or do not fit, there is nothing to resume,
            or the training diverges.
    """
    device = resolve_device(options.device)
    backbone, width = load_backbone(options)
    train, test = open_parts(options)
    listed = listed_labels(train, Path(options.label_list)) if options.label_list else None
    unfinished = Unfinished(options, resume, train, test)
    labelled = 0
    for repeat in range(len(unfinished.repetitions), options.seeds):
        seed = options.seed + repeat
        chosen = draw_labels(train, options.labels_percent, seed) if listed is None else listed
        chosen = readable(train, chosen, options.batch_size)
        labelled = len(chosen)
        model = Classifier(copy.deepcopy(backbone), new_classifier(width, train.classes, seed)).to(device)
        if options.compile:
            model.compile()
        precision = Precision(options.precision, device)
        seed_rank(seed, 0)  # dropout's, in the backbones that have it
        fine_tune(model, train, chosen, precision, options, repeat, unfinished)
        unfinished.done(Repetition(seed, measure_accuracy(model, test, precision, options.batch_size)))
    return Evaluation("semi-supervised", options, unfinished.repetitions, train, test, labelled)


def readable(images: LabelledImages, chosen: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the chosen images, (L,) int64, without those that cannot be read.

    They are few, so all are read once beforehand: a batch in the midst of the training could be left with a single
    row, which batch norm does not take.

    Raises:
        TrainerError: a class has none left, or a worker has died.
    """
    for _ in images.batches(chosen, batch_size, augment=False, leave_out=True):
        pass
    left = np.array([index for index in chosen if int(index) not in images.unreadable], np.int64)
    if len(left) < len(chosen):
        require_every_class(images, left, "the labelled images that can be read are")
    return left


def fine_tune(
    model: Classifier,
    images: LabelledImages,
    chosen: np.ndarray,  # (L,) int64, the images with labels
    precision: Precision,
    options: SemiSupervisedOptions,
    repeat: int,
    unfinished: Unfinished | None = None,
) -> None:
    """Train a model in place, in training mode: batch norm measures the statistics anew.

    Every epoch is saved in ``unfinished``, and those that it holds already are not done again.

    Raises:
        TrainerError: the loss is not finite.
    """
    device = next(model.parameters()).device
    optimizer = build_tuning_optimizer(model, options)
    schedule = build_schedule(optimizer, options)
    scaler = precision.scaler
    model.train()
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    if unfinished is not None:
        unfinished.restore(parts)
    left = range(schedule.last_epoch, options.epochs)
    for epoch in bar(left, len(left), f"fine-tuning, seed {options.seed + repeat}, epochs"):
        order = chosen[epoch_order(len(chosen), options.seed + repeat, epoch)]
        if len(order) % options.batch_size == 1 and len(order) > 1:
            order = order[:-1]  # batch norm cannot measure the statistics of a single row
        total = torch.zeros((), device=device)
        batches = images.batches(order, options.batch_size, augment=True, epoch=repeat * options.epochs + epoch)
        for pixels, labels in bar(
            batches, -(-len(order) // options.batch_size), describe_epoch(options, repeat, epoch)
        ):
            with precision.autocast():
                scores = model(pixels.to(device, non_blocking=True))
            loss = F.cross_entropy(scores.float(), labels.to(device))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.detach()
        schedule.step()
        check_finite(total.item(), epoch, "--learning-rate-classifier or --learning-rate-backbone")
        if unfinished is not None:
            unfinished.save(parts)


def build_tuning_optimizer(model: Classifier, options: SemiSupervisedOptions) -> Optimizer:
    """Return SGD with the two learning rates."""
    groups = [
        {"params": list(model.classifier.parameters()), "lr": options.learning_rate_classifier},
        {"params": list(model.backbone.parameters()), "lr": options.learning_rate_backbone},
    ]
    return SGD(groups, momentum=options.momentum, weight_decay=options.weight_decay)


def build_schedule(optimizer: Optimizer, options: SemiSupervisedOptions) -> LRScheduler:
    """Return the schedule of both learning rates, to be stepped once an epoch."""
    if options.decay == "cosine":
        return CosineAnnealingLR(optimizer, options.epochs)
    milestones = [round(0.6 * options.epochs), round(0.8 * options.epochs)]
    return MultiStepLR(optimizer, milestones, gamma=0.2)


@torch.no_grad()
def measure_accuracy(
    model: Classifier, test: LabelledImages, precision: Precision, batch_size: int
) -> TopAccuracy:
    """Return a model's accuracies on the test images."""
    device = next(model.parameters()).device
    model.eval()
    found = []
    count = len(test.labels)
    batches = test.batches(range(count), batch_size, augment=False)
    for pixels, labels in bar(batches, -(-count // batch_size), "test images"):
        with precision.autocast():
            scores = model(pixels.to(device))
        found.append(ranks(scores.float(), labels.to(device)))
    return top_accuracy(torch.cat(found))
