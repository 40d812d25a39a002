"""The parts of a configuration, shared by pre-training and evaluation; their defaults are the small preset's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bt_kernels.trainer.config.option import OptionPart, option
from bt_kernels.trainer.errors import TrainerError

if TYPE_CHECKING:
    import torch

DATA = ("digits", "cifar10", "cifar100", "stl10", "imagefolder", "webdataset", "synthetic")
UNLABELLED = ("webdataset", "synthetic")
WITHOUT_FOLDER = ("digits", "synthetic")
DOWNLOADED = ("cifar10", "cifar100", "stl10")
USUAL_SIDE = {
    "digits": 16,
    "cifar10": 32,
    "cifar100": 32,
    "stl10": 96,
    "imagefolder": 224,
    "webdataset": 224,
    "synthetic": 224,
}  # pixels of the images that a network sees
DIGITS_SIDE = 8
MOST_PIXELS = 2 * (1024**3 // 12)  # what Pillow opens by itself


@dataclass(frozen=True)
class DataOptions(OptionPart):
    """Data."""

    data: str = option(
        "digits",
        "data set: scikit-learn's digits; cifar10, cifar100 or stl10, downloaded into --data-dir; imagefolder, "
        "images at any depth below --data-dir/train or, if there is none, --data-dir; for evaluations with a "
        "folder per class in --data-dir/train and --data-dir/val, as ImageNet has it; webdataset, shards of "
        "images; synthetic, random images to measure the throughput with",
        choices=DATA,
    )
    data_dir: str = option("", "folder of the data set; digits and synthetic have none", path=True)
    shards: str = option(
        "",
        "webdataset: training shards below --data-dir, such as train-{0000..0146}.tar or train-*.tar",
        path=True,
    )
    shard_image: str = option(
        "",
        "webdataset: ending of the images, all that follows the first dot of a file's name, such as jpg or "
        "left.png; all: every image. Without it, of the images of a sample those whose ending has no dot, or else "
        "all of them",
    )
    epoch_images: int = option(0, "webdataset and synthetic: images that count as an epoch")
    image_size: int = option(16, "side in pixels of the images that the network sees")
    max_image_pixels: int = option(
        MOST_PIXELS, "images of more pixels are not decoded and count as unreadable; 0: all are decoded"
    )
    workers: int = option(0, "processes per rank that read and augment images; 0: the training process itself")
    seed: int = option(0, "seed of the split, the initial weights, the augmentations and the label draws")

    def check(self) -> None:
        self.require_choice("data")
        self.require(self.image_size >= DIGITS_SIDE, "image_size", "at least 8, the digits' own size")
        self.require_at_least(0, "workers", "epoch_images", "max_image_pixels")
        self.require(0 <= self.seed < 2**32, "seed", "between 0 and 2**32 - 1")
        given = self.data_dir.strip() != ""
        if self.data not in WITHOUT_FOLDER and not given:
            raise TrainerError(f"--data {self.data} needs --data-dir, the folder of the images")
        if self.data in WITHOUT_FOLDER and given:
            raise TrainerError(
                f"--data {self.data} reads no folder, and --data-dir {self.data_dir} names one; for the images "
                "there add --data imagefolder, or leave it out"
            )
        if self.data == "webdataset" and not self.shards.strip():
            raise TrainerError("--data webdataset needs --shards, such as train-{0000..0146}.tar or train-*.tar")
        if self.data in ("webdataset", "synthetic") and self.epoch_images == 0:
            raise TrainerError(f"--data {self.data} needs --epoch-images, how many images count as an epoch")


@dataclass(frozen=True)
class AugmentationOptions(OptionPart):
    """Augmentation of photographs, two views of each (the digits have an augmentation of their own)."""

    crop_scale: tuple[float, ...] = option((0.08, 1.0), "smallest and largest share of the image's area in a crop")
    flip_probability: float = option(0.5, "probability of a horizontal flip")
    jitter: tuple[float, ...] = option(
        (0.4, 0.4, 0.2, 0.1), "strengths of the jitter of brightness, contrast, saturation and hue"
    )
    jitter_probability: float = option(0.8, "probability of the colour jitter")
    greyscale_probability: float = option(0.2, "probability of greyscale")
    blur_probability: tuple[float, ...] = option((1.0, 0.1), "probabilities of Gaussian blur in view A and view B")
    solarize_probability: tuple[float, ...] = option(
        (0.0, 0.2), "probabilities of solarization in view A and view B"
    )
    augment_on: str = option(
        "loader",
        "where colours, blur and solarization are done: loader, by the --workers; device, on the training "
        "device, a whole batch at a time",
        choices=("loader", "device"),
    )

    def check(self) -> None:
        low, high = self.crop_scale if len(self.crop_scale) == 2 else (0.0, 0.0)
        self.require(0 < low <= high <= 1, "crop_scale", "two shares, 0 < smallest <= largest <= 1")
        valid = len(self.jitter) == 4 and all(0 <= value <= 1 for value in self.jitter) and self.jitter[3] <= 0.5
        self.require(valid, "jitter", "four strengths in [0, 1] joined by commas, the last one at most 0.5")
        for name in ("flip_probability", "jitter_probability", "greyscale_probability"):
            self.require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self.require_probabilities("blur_probability", 2)
        self.require_probabilities("solarize_probability", 2)
        self.require_choice("augment_on")


@dataclass(frozen=True)
class BackboneOptions(OptionPart):
    """Backbone."""

    backbone: str = option("resnet50", "a model of torchvision or, if there is none of that name there, of timm")
    stem: str = option(
        "imagenet",
        "a ResNet's first layers: imagenet, 7x7 with stride 2 and pooling; small, 3x3 without either, for "
        "images of some 32 pixels",
        choices=("imagenet", "small"),
    )
    shortcuts: str = option(
        "pooled",
        "a ResNet's shortcuts where the resolution halves: strided, as torchvision's; pooled, 2x2 averages in "
        "place of the stride, for images of few pixels",
        choices=("strided", "pooled"),
    )

    def check(self) -> None:
        self.require(self.backbone.strip() != "", "backbone", "the name of a torchvision or timm model")
        self.require_choice("stem", "shortcuts")


@dataclass(frozen=True)
class DeviceOptions(OptionPart):
    """Device."""

    device: str = option("auto", "torch device such as cpu, cuda or cuda:1; auto takes a GPU if there is one")
    precision: str = option(
        "float32",
        "arithmetic of the network: float32; bfloat16 or float16, by autocast, float16 with a scaled gradient",
        choices=("float32", "bfloat16", "float16"),
    )
    compile: bool = option(False, "compile the network with torch.compile")

    def check(self) -> None:
        resolve_device(self.device)
        self.require_choice("precision")


def usual_workers(most: int = 8) -> int:
    """Return how many processes are to read images for each rank: as many as its cores, 1 to ``most``."""
    import joblib  # which knows how many of the machine's cores a container may use

    return max(1, min(most, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def resolve_device(name: str) -> torch.device:
    """Return the torch device that a ``device`` option means.

    Raises:
        TrainerError: the name is no device, or the device is not there.
    """
    import torch  # seconds, which --help and a mistyped option have no need of

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainerError(
            f"--device {name!r} is not a torch device; use auto, cpu, cuda or cuda:<index>"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise TrainerError(f"--device {name!r} is not supported; use auto, cpu, cuda or cuda:<index>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainerError(f"--device {name!r} is not there: this PyTorch sees {torch.cuda.device_count()} GPUs")
    return device
