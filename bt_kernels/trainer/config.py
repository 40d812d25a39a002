"""The configuration: one frozen dataclass; the command line is generated from its fields."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

import torch

from bt_kernels.trainer.errors import TrainerError

BACKBONE_FEATURES = {"resnet18": 512, "resnet50": 2048}  # width of the pooled features

# Where a run lies and what it runs on may change when it is resumed; nothing else may.
CHANGEABLE_ON_RESUME = ("run_dir", "device")


def option(default: Any, help: str, choices: Sequence[str] | None = None) -> Any:
    """A dataclass field with what ``--help`` says about it."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Config:
    """A pre-training run, complete: the same configuration on the same machine gives the same weights.

    Raises:
        TrainerError: a value is out of range; the message names the option.
    """

    run_dir: str = option(
        "runs/pretrain", "run folder: configuration, metrics, checkpoint, weights, pictures"
    )
    device: str = option("auto", "torch device such as cpu, cuda or cuda:1; auto takes a GPU if there is one")
    seed: int = option(0, "seed of the split, the initial weights, the augmentations and the label draws")
    backbone: str = option("resnet50", "torchvision architecture", choices=tuple(BACKBONE_FEATURES))
    projector: str = option("512-512", "widths of the projector's layers, the last one is the embedding's")
    image_size: int = option(16, "side in pixels that the 8x8 digits are upsampled to (bicubic)")
    epochs: int = option(30, "passes over the unlabelled training images")
    batch_size: int = option(64, "images per step; each gives two views, an incomplete last batch is dropped")
    lambd: float = option(0.0051, "weight of the loss's redundancy-reduction (off-diagonal) term")
    learning_rate: float = option(1e-3, "peak learning rate of AdamW")
    weight_decay: float = option(
        1e-4, "decoupled weight decay of the weight matrices; biases and norms have none"
    )
    warmup_fraction: float = option(
        0.1, "share of the steps with linear warm-up; cosine decay to zero follows"
    )
    checkpoint_every: int = option(
        10, "epochs between checkpoints; one is also saved at the end and on Ctrl-C"
    )
    label_draws: int = option(20, "random draws of the labels that the evaluation averages over")

    def __post_init__(self) -> None:
        def require(valid: bool, name: str, rule: str) -> None:
            if not valid:
                raise TrainerError(f"{flag(name)} must be {rule}, got {getattr(self, name)!r}")

        require(self.run_dir.strip() != "", "run_dir", "a folder's path")
        require(0 <= self.seed < 2**32, "seed", "between 0 and 2**32 - 1")
        require(self.backbone in BACKBONE_FEATURES, "backbone", f"one of {', '.join(BACKBONE_FEATURES)}")
        widths = self.projector.split("-")
        valid_widths = all(width.isascii() and width.isdigit() and int(width) > 0 for width in widths)
        require(valid_widths, "projector", "positive widths joined by '-', such as 512-512")
        require(self.image_size >= 8, "image_size", "at least 8, the digits' own size")
        for name in ("epochs", "checkpoint_every", "label_draws"):
            require(getattr(self, name) >= 1, name, "at least 1")
        require(self.batch_size >= 2, "batch_size", "at least 2, the loss needs batch statistics")
        for name in ("lambd", "learning_rate"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, "a finite number greater than 0")
        require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "weight_decay",
            "a finite number >= 0",
        )
        require(0 <= self.warmup_fraction < 1, "warmup_fraction", "at least 0 and less than 1")
        resolve_device(self.device)

    @property
    def projector_widths(self) -> list[int]:
        """Output widths of the projector's layers."""
        return [int(width) for width in self.projector.split("-")]

    def as_dict(self) -> dict[str, Any]:
        """All options as plain values, for JSON and for the checkpoint."""
        return asdict(self)


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def resolve_device(name: str) -> torch.device:
    """Return the torch device that a ``device`` option means.

    Raises:
        TrainerError: the name is no device, or the device is not there.
    """
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
        raise TrainerError(
            f"--device {name!r} is not there: this PyTorch sees {torch.cuda.device_count()} GPUs"
        )
    return device


def build_parser() -> argparse.ArgumentParser:
    """The command line: one option per field of ``Config``, and ``--resume``."""
    parser = argparse.ArgumentParser(
        prog="python -m bt_kernels.trainer",
        description="Pre-train a ResNet with the Barlow Twins loss on scikit-learn's handwritten digits, "
        "without labels, then measure what its features are worth with a few labels per class.",
        epilog="Ctrl-C saves a checkpoint; the same command with --resume goes on from it. "
        "Started by torchrun --nproc-per-node W -m bt_kernels.trainer, W processes share every batch.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="go on from the checkpoint in --run-dir, with the configuration saved there",
    )
    types = get_type_hints(Config)
    for entry in fields(Config):
        parser.add_argument(
            flag(entry.name),
            type=types[entry.name],
            choices=entry.metadata["choices"],
            help=f"{entry.metadata['help']} (default: {entry.default})",
            metavar=None if entry.metadata["choices"] else types[entry.name].__name__.upper(),
        )
    return parser


def resumed_config(saved: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    """Return the configuration of a resumed run: the saved one, with the folder and device given now.

    Args:
        saved: Options from the checkpoint.
        given: Options given explicitly on the command line.

    Raises:
        TrainerError: a given option contradicts the saved one, or the saved ones are of another version.
    """
    names = {entry.name for entry in fields(Config)}
    if set(saved) != names:
        differing = ", ".join(sorted(names.symmetric_difference(saved)))
        raise TrainerError(
            f"the checkpoint's options are not those of this version ({differing}); start a new run"
        )
    for name, value in given.items():
        if name not in CHANGEABLE_ON_RESUME and value != saved[name]:
            raise TrainerError(
                f"{flag(name)} {value} contradicts the checkpoint, which was made with {saved[name]}; "
                "leave it out to resume, or start a new run in another --run-dir"
            )
    return Config(**{**saved, **given})
