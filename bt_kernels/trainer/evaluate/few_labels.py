"""Label efficiency: a linear classifier on frozen features, fitted to a few labels per class.

One protocol for every representation: centre on the training images' mean, scale every row to unit length,
fit a logistic regression to the drawn labels, measure the accuracy on the held-out images. The draws depend
on the seed alone, so all representations are compared on the same ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.optim.swa_utils import update_bn

from bt_kernels.trainer.model.network import BarlowTwinsNetwork, three_channels

LABELS_PER_CLASS = (1, 2, 5, 10)
INVERSE_REGULARISATION = 10.0  # logistic regression's C, the same for every representation
_BATCH = 256


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out images classified rightly, in [0, 1], over the draws."""

    mean: float
    std: float
    draws: int


def frozen_features(network: BarlowTwinsNetwork, images: Tensor, calibration: Tensor) -> np.ndarray:
    """Return the backbone's pooled features, with batch-norm statistics measured on ``calibration``.

    Measuring them anew gives the untrained network, whose running averages mean nothing, the same chance.

    Args:
        network: Left unchanged.
        images: (N, 1 or 3, S, S), as the network takes them.
        calibration: Training images, (M, 1 or 3, S, S); their labels play no part.

    Returns:
        (N, F) float32.
    """
    device = next(network.parameters()).device
    calibrated = copy.deepcopy(network)
    backbone_input = [three_channels(batch) for batch in calibration.to(device).split(_BATCH)]
    update_bn(backbone_input, calibrated.backbone)
    calibrated.eval()
    with torch.no_grad():
        return torch.cat([calibrated.features(batch) for batch in images.to(device).split(_BATCH)]).cpu().numpy()


def centre_and_normalise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the training mean and scale rows to unit length: (N, F) and (M, F) to the same shapes."""
    mean = train.mean(axis=0)
    return normalize(train - mean), normalize(test - mean)


def draw_labelled(labels: np.ndarray, per_class: int, draw: int, seed: int) -> np.ndarray:
    """Return the indices of ``per_class`` random images of every class; the same for the same arguments.

    Raises:
        ValueError: a class has fewer images.
    """
    rng = np.random.default_rng([seed, per_class, draw])
    classes = np.unique(labels)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in classes])


def label_efficiency(
    train: np.ndarray,  # (N, F)
    train_labels: np.ndarray,  # (N,)
    test: np.ndarray,  # (M, F)
    test_labels: np.ndarray,  # (M,)
    draws: int,
    seed: int,
) -> dict[str, Accuracy]:
    """Return the accuracy on the test features by labels per class: "1", "2", "5", "10" and "all"."""
    train, test = centre_and_normalise(train, test)

    def accuracy(labelled: np.ndarray) -> float:
        classifier = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000)
        classifier.fit(train[labelled], train_labels[labelled])
        return float(classifier.score(test, test_labels))

    results = {}
    with threadpool_limits(1):  # products this small are many times slower on several threads
        for per_class in LABELS_PER_CLASS:
            values = [accuracy(draw_labelled(train_labels, per_class, draw, seed)) for draw in range(draws)]
            results[str(per_class)] = Accuracy(float(np.mean(values)), float(np.std(values)), draws)
        results["all"] = Accuracy(accuracy(np.arange(len(train))), 0.0, 1)
    return results
