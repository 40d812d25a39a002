"""The nearest-neighbour accuracy of the features while they are being trained, over all ranks."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.data.images import lacking_labels
from bt_kernels.trainer.errors import DataError, TrainerError
from bt_kernels.trainer.evaluate.features import extract_features
from bt_kernels.trainer.evaluate.knn import knn_accuracy, usual_neighbours
from bt_kernels.trainer.evaluate.options import TEMPERATURE
from bt_kernels.trainer.evaluate.parts import open_parts
from bt_kernels.trainer.parallel.replicas import share_buffers

if TYPE_CHECKING:
    from bt_kernels.trainer.training.pretraining import Pretraining

# An indicator on the way, not the result: ImageNet's 1.28 million training images would take minutes each time.
MOST_TRAINING_IMAGES = 50_000
MOST_TEST_IMAGES = 10_000
BATCH = 256


def settle_neighbours(config: Config, by_name: bool) -> tuple[Config, list[str]]:
    """Return the configuration without the neighbours where there are no labelled images, and what to say of it.

    Args:
        config: The run's options.
        by_name: Whether the neighbours were asked for by themselves.
    """
    if by_name or not config.knn_every or config.data != "imagefolder":
        return config, []
    lacking = lacking_labels(config)
    if lacking is None:
        return config, []
    return replace(config, knn_every=0), [f"no nearest-neighbour accuracy: {lacking}"]


class NeighbourAccuracy:
    """Classifies the held-out images by their nearest training images in the backbone's features.

    Args:
        state: The run, whose network is measured.

    Raises:
        TrainerError: the data set has labels and cannot be read.
    """

    def __init__(self, state: Pretraining) -> None:
        self._state = state
        config = state.config
        try:
            self._train, self._test = open_parts(config)
        except TrainerError as error:
            raise TrainerError(f"{error}; or leave out the nearest neighbours, by --knn-every 0") from error
        for part in (self._train, self._test):
            if state.processes.first and part.passed_over and part.passed_over not in state.data.notes:
                print(f"nearest neighbours: {part.passed_over}", file=sys.stderr)
        self._said: list[LabelledImages] = []  # parts whose unreadable images have been
        rng = np.random.default_rng(config.seed)
        self._chosen = [
            np.sort(rng.permutation(len(part.labels))[:most])
            for part, most in ((self._train, MOST_TRAINING_IMAGES), (self._test, MOST_TEST_IMAGES))
        ]

    def __call__(self) -> float | None:
        """Return the share of the held-out images classified rightly, in [0, 1], on rank 0; None elsewhere."""
        network = self._state.network
        share_buffers(network, self._state.processes)
        network.eval()
        features = [self._features(*part) for part in zip((self._train, self._test), self._chosen, strict=True)]
        network.train()
        if not self._state.processes.first:
            return None
        (train, train_labels), (test, test_labels) = (part for part in features if part is not None)
        classes = self._train.classes
        k = usual_neighbours(len(train), classes)
        return knn_accuracy(train, train_labels, test, test_labels, k, TEMPERATURE, classes)[0]

    def _features(self, images: LabelledImages, chosen: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Return the features and labels of those of the chosen images that can be read, on rank 0.

        Raises:
            DataError: none can be read, or a worker has died.
        """
        processes = self._state.processes
        # Every rank the same number of images, by going round: a spread network runs on all ranks together.
        share = -(-len(chosen) // processes.size)
        own = np.resize(chosen, share * processes.size)[processes.rank * share :][:share]
        gathered = processes.gather(processes.together(lambda: self._own_features(images, own)))
        return processes.on_first(lambda: self._joined(images, len(chosen), gathered or []))

    def _joined(self, images: LabelledImages, most: int, gathered: list[Any]) -> tuple[Tensor, Tensor]:
        features, labels, reasons = zip(*gathered, strict=True)
        unreadable = {index: reason for own in reasons for index, reason in own.items()}
        if unreadable:
            index, reason = min(unreadable.items())
            first = f"the first is {images.name(index)} ({reason})"
            if not any(map(len, labels)):
                raise DataError(f"none of {most} images can be read for the nearest neighbours, {first}")
            if images not in self._said:
                self._said.append(images)
                left_out = f"{len(unreadable)} images that cannot be read, {first}"
                tqdm.write(f"warning: the nearest neighbours leave out {left_out}", file=sys.stderr)
        device = self._state.device
        return torch.cat(features)[:most].to(device), torch.cat(labels)[:most].to(device)

    def _own_features(self, images: LabelledImages, own: np.ndarray) -> tuple[Tensor, Tensor, dict[int, str]]:
        state = self._state
        features, labels = extract_features(
            state.network.features,
            images,
            state.precision,
            state.device,
            batch_size=BATCH,
            indices=own,
            leave_out=True,
        )
        return features, labels, images.unreadable
