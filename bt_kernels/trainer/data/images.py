"""Data sets of photographs that are read one image at a time: folders of files, and torchvision's arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from bt_kernels.trainer.config.parts import DataOptions
from bt_kernels.trainer.data.decoding import decode
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.torchvision_import import import_torchvision


class Images(Protocol):
    """Photographs by index, with their labels."""

    labels: np.ndarray  # (N,) int64
    classes: int
    place: str  # where they lie

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
    """The files below a folder that has a folder for each class.

    Args:
        root: The folder.
        max_pixels: See ``decode``.

    Raises:
        TrainerError: it is missing, has no class folder, or has one without images.
    """

    def __init__(self, root: Path, max_pixels: int) -> None:
        folder = import_torchvision().datasets.folder
        if not root.is_dir():
            raise TrainerError(
                f"--data imagefolder needs the folder {root}, with a folder of images for each class in it"
            )
        try:
            classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
            numbers = {name: number for number, name in enumerate(classes)}
            suffixes = folder.IMG_EXTENSIONS
            files = folder.make_dataset(str(root), numbers, suffixes, allow_empty=True) if classes else []
        except OSError as error:
            raise TrainerError(f"cannot read {error.filename}: {error.strerror}") from None
        if not files:
            raise TrainerError(f"{root} holds no images ({', '.join(suffixes)}) in a folder per class")
        self.place = str(root)
        self._max_pixels = max_pixels
        self.classes = len(classes)
        self.labels = np.array([label for _, label in files], dtype=np.int64)
        empty = np.flatnonzero(np.bincount(self.labels, minlength=self.classes) == 0)
        if len(empty):
            raise TrainerError(f"the class folder {root / classes[empty[0]]} has no images; fill it or remove it")
        # One array, not a million strings: reading a string in a worker would copy the page that its count is on.
        self._names = np.array([os.fsencode(path[len(str(root)) + 1 :]) for path, _ in files])

    def __len__(self) -> int:
        return len(self.labels)

    def names(self) -> list[str]:
        return [os.fsdecode(name) for name in self._names]

    def name(self, index: int) -> str:
        return os.fsdecode(self._names[index])

    def read(self, index: int) -> Image.Image:
        name = self.name(index)
        return decode(os.path.join(self.place, name), name, self._max_pixels)


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

    def __len__(self) -> int:
        return len(self._pixels)

    def names(self) -> None:
        return None

    def name(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index])


def open_images(options: DataOptions, part: str, processes: Processes | None = None) -> Images:
    """Open a data set of photographs; what is missing of torchvision's is downloaded.

    Args:
        options: The data set and where it lies.
        part: "pretrain", all images meant for learning without labels; "train" or "test".
        processes: If given, all of them have to ask, and rank 0 alone downloads.

    Raises:
        TrainerError: it cannot be read, or neither found nor downloaded.
    """
    root = Path(os.path.expanduser(options.data_dir))
    if options.data == "imagefolder":
        return ImageFiles(root / ("val" if part == "test" else "train"), options.max_image_pixels)
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
