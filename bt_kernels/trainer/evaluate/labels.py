"""Which training images keep their label in the semi-supervised protocol: drawn with a seed, or listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.parts import class_name


def draw_labels(images: LabelledImages, percent: float, seed: int) -> np.ndarray:
    """Return the indices of ``percent`` % of every class's images, at least one each; (L,) int64, rising.

    Raises:
        TrainerError: a class has no image.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(images.classes):
        members = np.flatnonzero(images.labels == label)
        if len(members):
            count = max(1, round(len(members) * percent / 100))
            chosen.append(rng.choice(members, count, replace=False))
    indices = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    require_every_class(images, indices, "the training images hold")
    return indices


def listed_labels(images: LabelledImages, path: Path) -> np.ndarray:
    """Return the indices of the images that a file names, (L,) int64, rising.

    Args:
        images: The training images.
        path: One image a line: its path relative to the images' folder, or its file's name alone.

    Raises:
        TrainerError: the images have no names, or the file cannot be read, is empty, names an image that is not
            there or a file's name that several images have, or leaves a class out.
    """
    if images.names is None:
        raise TrainerError("--label-list needs images that are files; use --labels-percent with this data set")
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise TrainerError(f"cannot read --label-list {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TrainerError(f"--label-list {path} is no text file; write one image's name a line") from None
    listed = [line for line in lines if line]
    if not listed:
        raise TrainerError(f"--label-list {path} names no image; write one image's name a line")
    by_path = {name.replace("\\", "/"): index for index, name in enumerate(images.names)}
    by_file: dict[str, list[int]] = {}
    for name, index in by_path.items():
        by_file.setdefault(name.rpartition("/")[2], []).append(index)
    indices = set()
    for name in listed:
        found = [by_path[name]] if name in by_path else by_file.get(name, [])
        if not found:
            raise TrainerError(f"--label-list {path} names {name}, which is not among the training images")
        if len(found) > 1:
            images_called_so = f"{name}, which {len(found)} images are called"
            raise TrainerError(f"--label-list {path} names {images_called_so}; add the folder")
        indices.add(found[0])
    chosen = np.array(sorted(indices))
    require_every_class(images, chosen, f"--label-list {path} names")
    return chosen


def require_every_class(images: LabelledImages, indices: np.ndarray, subject: str) -> None:
    """Raise TrainerError if a class is not among the chosen images."""
    counts = np.bincount(images.labels[indices], minlength=images.classes)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        more = f" and of {len(empty) - 1} other classes" if len(empty) > 1 else ""
        first = class_name(images, int(empty[0]))
        raise TrainerError(f"{subject} no image of {first}{more}; add at least one of each")
