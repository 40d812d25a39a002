"""The nearest-neighbour protocol on a file of weights."""

from __future__ import annotations

import torch

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy
from bt_kernels.trainer.evaluate.features import extract_features, load_backbone
from bt_kernels.trainer.evaluate.knn import knn_accuracy, usual_neighbours
from bt_kernels.trainer.evaluate.options import KnnOptions
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.evaluate.result import Evaluation, Repetition
from bt_kernels.trainer.training.precision import Precision


def evaluate_knn(options: KnnOptions) -> Evaluation:
    """Classify the test images by the nearest training images; there is nothing random about it.

    Raises:
        TrainerError: weights or data cannot be read or do not fit, or there are fewer training images than
            neighbours.
    """
    device = resolve_device(options.device)
    precision = Precision(options.precision, device)
    backbone, _ = load_backbone(options)
    train, test = open_parts(options)
    images = len(train.labels)
    if options.neighbours > images:
        raise TrainerError(f"--neighbours {options.neighbours} is more than the {images} training images")
    backbone.to(device)
    if options.compile:
        backbone.compile()
    features = [
        extract_features(backbone, part, precision, options.batch_size, f"{name} features")
        for name, part in (("test", test), ("training", train))
    ]
    k = options.neighbours or usual_neighbours(images, train.classes)
    top1, top5 = knn_accuracy(
        features[1],
        torch.from_numpy(train.labels),
        features[0].to(device),
        torch.from_numpy(test.labels).to(device),
        k,
        options.temperature,
        train.classes,
    )
    repetition = Repetition(options.seed, TopAccuracy(top1, top5))
    return Evaluation("knn", options, [repetition], images, len(test.labels), train.classes, neighbours=k)
