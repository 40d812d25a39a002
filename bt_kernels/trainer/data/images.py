"""Data sets of photographs that are read one image at a time: folders of files, and torchvision's arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from bt_kernels.trainer.config.parts import DataOptions
from bt_kernels.trainer.data.decoding import decode
from bt_kernels.trainer.data.folders import BESIDE, find_images, folders_at_top, holds_images, image_endings
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.torchvision_import import import_torchvision


class Images(Protocol):
    """Photographs by index, with their labels."""

    labels: np.ndarray  # (N,) int64; (0,) of images that were opened without
    classes: int
    place: str  # where they lie
    passed_over: str  # what lies there and is not used, as a sentence; empty if there is nothing

    def __len__(self) -> int: ...

    def names(self) -> list[str] | None:
        """The files, relative to ``place``, or None if images have none."""
        ...

    def name(self, index: int) -> str:
        """What an image is called in a message."""
        ...

    def read(self, index: int) -> Image.Image:
        """Return an image in RGB.

        Raises:
            UnreadableImage: it is missing, damaged or refused.
        """
        ...


class ImageFiles:
    """The image files below a folder: all of them, or, with labels, those in the folders of the classes.

    Args:
        root: The folder.
        max_pixels: See ``decode``.
        labelled: The folders at its top are classes.

    Raises:
        TrainerError: it is missing or has no images, or there are no labels for each.
    """

    def __init__(self, root: Path, max_pixels: int, labelled: bool = False) -> None:
        contents = ", with a folder of images for each class in it" if labelled else " with the images"
        if not root.is_dir():
            raise TrainerError(f"--data imagefolder needs the folder {root}{contents}")
        try:
            names, tops, passed = find_images(str(root))
        except OSError as error:
            raise TrainerError(f"cannot read {error.filename}: {error.strerror}") from None
        if labelled:
            for name in [name for name in names if os.sep not in name]:
                passed.add(BESIDE, name)
            names = [name for name in names if os.sep in name]
        described = str(passed)
        self.passed_over = f"passed over in {root}: {described}" if described else ""
        if not names:
            wanted = f"images ({', '.join(image_endings())}){' in a folder per class' if labelled else ''}"
            seen = f"; passed over: {described}" if described else ""
            raise TrainerError(f"{root} holds no {wanted}{seen}")
        self.place = str(root)
        self.classes = len(tops) if labelled else 0
        self.labels = _labels(root, names, tops) if labelled else np.empty(0, np.int64)
        self._max_pixels = max_pixels
        # One array, not a million strings: reading a string in a worker would copy the page that its count is on.
        self._names = np.array([os.fsencode(name) for name in names])

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> list[str]:
        return [os.fsdecode(name) for name in self._names]

    def name(self, index: int) -> str:
        return os.fsdecode(self._names[index])

    def read(self, index: int) -> Image.Image:
        name = self.name(index)
        return decode(os.path.join(self.place, name), name, self._max_pixels)


def _labels(root: Path, names: list[str], classes: list[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name.partition(os.sep)[0]] for name in names], dtype=np.int64)
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        raise TrainerError(f"the class folder {root / classes[empty[0]]} has no images; fill it or remove it")
    return labels


def lacking_labels(options: DataOptions) -> str | None:
    """Return why image folders have no labels to evaluate by; None if they may have.

    It looks into each class folder for one image, and no further.
    """
    root = Path(os.path.expanduser(options.data_dir))
    for part in _FOLDERS.values():
        folder = root / part
        try:
            classes = folders_at_top(str(folder))
        except OSError:
            return f"there is no folder {folder} with labelled images"
        if not classes:
            return f"{folder} has no folder for each class"
        empty = next((name for name in classes if not holds_images(str(folder / name))), None)
        if empty is not None:
            return f"the class folder {folder / empty} has no images"
    return None


class ImageArrays:
    """Images that fit into memory.

    Args:
        pixels: (N, H, W, 3) uint8.
        labels: (N,) int64.
        classes: Number of classes.
        place: Where they lie.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, classes: int, place: str) -> None:
        self._pixels = pixels
        self.labels = labels
        self.classes = classes
        self.place = place
        self.passed_over = ""

    def __len__(self) -> int:
        return len(self._pixels)

    def names(self) -> None:
        return None

    def name(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index])


_FOLDERS = {"train": "train", "test": "val"}  # as ImageNet has them


def open_images(options: DataOptions, part: str, processes: Processes | None = None) -> Images:
    """Open a data set of photographs; what is missing of torchvision's is downloaded.

    Args:
        options: The data set and where it lies.
        part: "pretrain", all images meant for learning without labels; "train" or "test", those with labels.
        processes: If given, all of them have to ask, and rank 0 alone downloads.

    Raises:
        TrainerError: it cannot be read, or neither found nor downloaded.
    """
    root = Path(os.path.expanduser(options.data_dir))
    if options.data == "imagefolder":
        if part != "pretrain":
            return ImageFiles(root / _FOLDERS[part], options.max_image_pixels, labelled=True)
        train = root / _FOLDERS["train"]
        return ImageFiles(train if train.is_dir() else root, options.max_image_pixels)
    processes = processes or Processes()
    images = processes.on_first(lambda: _open_arrays(options.data, root, part, download=True))
    return images if images is not None else _open_arrays(options.data, root, part, download=False)


_TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "stl10": "STL-10"}


def _open_arrays(data: str, root: Path, part: str, download: bool) -> ImageArrays:
    datasets = import_torchvision().datasets
    try:
        if data == "stl10":
            split = "train+unlabeled" if part == "pretrain" else part
            stl10 = datasets.STL10(root, split, download=download)
            pixels = stl10.data.transpose(0, 2, 3, 1)  # stored (N, 3, H, W)
            return ImageArrays(pixels, np.asarray(stl10.labels, np.int64), 10, str(root))
        kind = datasets.CIFAR10 if data == "cifar10" else datasets.CIFAR100
        cifar = kind(root, train=part != "test", download=download)
        return ImageArrays(cifar.data, np.asarray(cifar.targets, np.int64), len(cifar.classes), str(root))
    except (OSError, RuntimeError) as error:
        reason = str(getattr(error, "reason", None) or error).splitlines()[0].rstrip(".")
        raise TrainerError(
            f"{_TITLES[data]} is not complete in --data-dir {root} and could not be downloaded ({reason}); "
            "bring its files there from a machine with internet"
        ) from None
