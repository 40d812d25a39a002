"""Images with their labels, for the evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bt_kernels.trainer.augmentation.photographs import EVALUATION_MARGIN, LabelledView, normalize, to_float
from bt_kernels.trainer.config.parts import UNLABELLED, DataOptions
from bt_kernels.trainer.data.decoding import UnreadableImage
from bt_kernels.trainer.data.digits import load_split
from bt_kernels.trainer.data.images import Images, open_images
from bt_kernels.trainer.data.loader import Failure, load
from bt_kernels.trainer.errors import TrainerError


class LabelledImages:
    """One part of a data set: photographs that are read when they are asked for.

    ``unreadable`` holds the indices of the images that were left out so far, and why.

    Args:
        images: The part.
        options: Size of the images, workers and seed.
        margin: The short side that images are resized to before the central crop, in units of the crop's.
    """

    def __init__(self, images: Images, options: DataOptions, margin: float) -> None:
        self.labels = images.labels  # (N,) int64
        self.classes = images.classes
        self.unreadable: dict[int, str] = {}
        self._images = images
        self._options = options
        self._view = LabelledView(options.image_size, margin)

    @property
    def names(self) -> list[str] | None:
        """The files, relative to the part's folder, or None where images have no file."""
        return self._images.names()

    @property
    def passed_over(self) -> str:
        """What lies beside the images and is not used, as a sentence; empty if there is nothing."""
        return self._images.passed_over

    def name(self, index: int) -> str:
        """What an image is called in a message."""
        return f"{self._images.name(index)} in {self._images.place}"

    def batches(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        augment: bool,
        epoch: int = 0,
        leave_out: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (n, C, S, S) float32, as in ``Views``, and labels (n,) int64, on the CPU.

        Args:
            indices: Which images, in the order that they come in.
            batch_size: Images in a batch; the last one may have fewer.
            augment: Random crops and flips, that depend on the seed, ``epoch`` and the index alone, instead of
                the central crop. Digits are always as they are.
            epoch: See ``augment``.
            leave_out: Leave out images that cannot be read; batches have fewer images, perhaps none.

        Raises:
            TrainerError: an image cannot be read, or a worker has died.
        """
        whole = np.asarray(indices, dtype=np.int64)
        requests = [whole[start : start + batch_size] for start in range(0, len(whole), batch_size)]
        return self._read(requests, (self._options.seed, epoch) if augment else None, leave_out)

    def _read(
        self, requests: Sequence[np.ndarray], key: tuple[int, int] | None, leave_out: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = _Rows(self._images, self._view, key, leave_out)
        workers = min(self._options.workers, len(requests))
        with closing(load(rows, [part.tolist() for part in requests], workers, torch.device("cpu"))) as batches:
            for pixels, labels, left_out in batches:
                self.unreadable.update(left_out)
                yield normalize(to_float(pixels)), labels


class LabelledDigits(LabelledImages):
    """One part of the digits.

    Args:
        images: (N, 1, S, S) float32 in [0, 1].
        labels: (N,) int64.
        options: Those of the data.
    """

    names = None
    passed_over = ""

    def __init__(self, images: Tensor, labels: np.ndarray, options: DataOptions) -> None:
        self.labels = labels
        self.classes = 10
        self.unreadable = {}
        self._options = options
        self._pixels = images

    def _read(
        self, requests: Sequence[np.ndarray], key: tuple[int, int] | None, leave_out: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for part in requests:
            yield self._pixels[torch.from_numpy(part)], torch.from_numpy(self.labels[part])


class _Rows(Dataset):
    """Batches of images and labels, by indices; ``key`` is what random views are drawn by."""

    def __init__(self, images: Images, view: LabelledView, key: tuple[int, int] | None, leave_out: bool) -> None:
        self._images, self._view, self._key, self._leave_out = images, view, key, leave_out

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, dict[int, str]] | Failure:
        pixels, read, left_out = [], [], {}
        for index in indices:
            try:
                key = None if self._key is None else (*self._key, index)
                pixels.append(self._view(self._images.read(index), key))
                read.append(index)
            except UnreadableImage as error:
                # Another image in its place would be classified under the wrong label.
                if not self._leave_out:
                    file = f"{error.name} in {self._images.place}"
                    return Failure(f"cannot read {file} ({error.reason}); replace the file, or remove it")
                left_out[index] = error.reason
        side = self._view.side
        images = torch.stack(pixels) if read else torch.empty(0, 3, side, side, dtype=torch.uint8)
        return images, torch.from_numpy(self._images.labels[read]), left_out


def open_labelled(options: DataOptions, part: str) -> LabelledImages:
    """Open one part of a data set that has labels.

    Args:
        options: The data set, where it lies, and the size of the images.
        part: "train" or "test"; of the digits ``load_split``'s, of image folders ``train`` and ``val``.

    Raises:
        TrainerError: it has no labels, or cannot be read.
    """
    if options.data in UNLABELLED:
        raise TrainerError(
            f"--data {options.data} is for pre-training only; evaluate on a data set with labels, such as "
            "imagefolder"
        )
    if options.data == "digits":
        digits = load_split(options.image_size, options.seed)
        if part == "train":
            return LabelledDigits(digits.train_images, digits.train_labels, options)
        return LabelledDigits(digits.test_images, digits.test_labels, options)
    # The small images of CIFAR and STL-10 are evaluated whole.
    margin = EVALUATION_MARGIN if options.data == "imagefolder" else 1.0
    return LabelledImages(open_images(options, part), options, margin)
