"""The two parts of a data set, and what an evaluation needs of them beyond being readable."""

from __future__ import annotations

from bt_kernels.trainer.config.parts import DataOptions
from bt_kernels.trainer.data import LabelledImages, open_labelled
from bt_kernels.trainer.errors import TrainerError


def open_parts(options: DataOptions) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and the test part.

    Raises:
        TrainerError: one cannot be read, or their classes differ.
    """
    train, test = open_labelled(options, "train"), open_labelled(options, "test")
    # Classes are numbered in the order of their folders, so one folder more shifts the numbers of all after it.
    differing = sorted(set(class_folders(train)) ^ set(class_folders(test)))
    if train.classes != test.classes or differing:
        example = f" ({differing[0]} is in one alone)" if differing else ""
        raise TrainerError(
            f"the training images have {train.classes} classes and the test images {test.classes}{example}; "
            f"give both parts of --data-dir {options.data_dir} the same class folders"
        )
    return train, test


def class_folders(images: LabelledImages) -> list[str]:
    """Return the classes' folders, in their order; none where images have no files."""
    return sorted({name.replace("\\", "/").split("/")[0] for name in images.names or []})


def class_name(images: LabelledImages, label: int) -> str:
    """What a class is called in a message."""
    folders = class_folders(images)
    return folders[label] if len(folders) == images.classes else f"class {label}"
