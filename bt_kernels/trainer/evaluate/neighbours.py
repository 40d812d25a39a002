"""The nearest-neighbour protocol on a file of weights."""

from __future__ import annotations

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy
from bt_kernels.trainer.evaluate.features import extract_features, load_backbone, training_features
from bt_kernels.trainer.evaluate.knn import knn_accuracy, usual_neighbours
from bt_kernels.trainer.evaluate.options import KnnOptions
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.evaluate.result import Evaluation, Repetition
from bt_kernels.trainer.precision import Precision


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
    size = options.batch_size
    features, labels = extract_features(
        backbone, test, precision, device, batch_size=size, description="test features"
    )
    train_features, train_labels = training_features(backbone, train, precision, device, size)
    k = options.neighbours or usual_neighbours(len(train_labels), train.classes)
    if k > len(train_labels):
        raise TrainerError(
            f"--neighbours {k} is more than the {len(train_labels)} training images that can be read"
        )
    top1, top5 = knn_accuracy(
        train_features,
        train_labels,
        features.to(device),
        labels.to(device),
        k,
        options.temperature,
        train.classes,
    )
    repetition = Repetition(options.seed, TopAccuracy(top1, top5))
    return Evaluation("knn", options, [repetition], train, test, neighbours=k)
