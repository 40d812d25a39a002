"""Named settings, complete for a task, and where a run's configuration comes from.

``imagenet`` is the recipe of the authors' repository. It differs from the paper in the weight decay (1e-6; the
paper has 1.5e-6) and in the weight of the redundancy term (0.0051; the paper has 0.005). Two things are not the
authors': bfloat16 where they have float16 with a scaled gradient, and batch 2048 on any number of ranks, with
``gradient_divisor`` for what their number of GPUs did to the gradient.

``cifar`` has the network, loss, batch and optimizer of lightly's CIFAR-10 benchmark
(docs/source/getting_started/benchmarks/cifar10_benchmark.py). Not lightly's are the colours, the paper's, a learning
rate that falls step by step instead of epoch by epoch, and weight decay of weights alone. ``small`` is the digits'
demonstration.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bt_kernels.trainer.config.config import Config
from bt_kernels.trainer.config.option import add_options, flag, read_yaml, shown
from bt_kernels.trainer.errors import TrainerError

PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "cifar": {
        "data": "cifar10",
        "data_dir": "data",
        "image_size": 32,
        "workers": 4,
        "blur_probability": (0.0, 0.0),
        "solarize_probability": (0.0, 0.0),
        "backbone": "resnet18",
        "stem": "small",
        "shortcuts": "strided",
        "projector": "2048-2048",
        "lambd": 0.005,
        "epochs": 200,
        "batch_size": 512,
        "optimizer": "sgd",
        "learning_rate": 0.12,
        "learning_rate_biases": 0.12,
        "scale_learning_rates": True,
        "warmup": "0",
        "weight_decay": 5e-4,
        "views": "separately",
    },
    "imagenet": {
        "data": "imagefolder",
        "epoch_images": 1281167,  # with shards and synthetic images
        "image_size": 224,
        "workers": 8,
        "shortcuts": "strided",
        "projector": "8192-8192-8192",
        "gradient_divisor": 32.0,
        "epochs": 1000,
        "batch_size": 2048,
        "optimizer": "lars",
        "learning_rate": 0.2,
        "learning_rate_biases": 0.0048,
        "scale_learning_rates": True,
        "warmup": "10",
        "final_learning_rate": 0.001,
        "weight_decay": 1e-6,
        "views": "separately",
        "precision": "bfloat16",
        "checkpoint_every": 1,
        "statistics_every": 100,
    },
}

# Where a run lies and how it is carried out may change when it is resumed; nothing that decides its numbers may.
CHANGEABLE_ON_RESUME = (
    "run_dir", "device", "data_dir", "checkpoint_every", "keep_checkpoints", "knn_every", "tensorboard",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The command line: where the options come from, and one option per field of ``Config``."""
    parser = argparse.ArgumentParser(
        prog="python -m bt_kernels.trainer",
        description="Pre-train a network with the Barlow Twins loss: by default a ResNet-50 on scikit-learn's "
        "handwritten digits, without labels; with --preset imagenet by the paper's recipe.",
        epilog="Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint; the same command with --resume goes on from it. "
        "Started by torchrun --nproc-per-node W -m bt_kernels.trainer, W processes share every batch.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="settings to start from; single options go before it (default: small, whose values are named below)",
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML file of options, which go before the preset's"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        choices=("always", "auto"),
        const="always",
        help="go on from the latest checkpoint in --run-dir, with the configuration saved there; auto: if there "
        "is one",
    )
    parser.add_argument(
        "--continue-from",
        metavar="FILE",
        type=Path,
        help="start a new run from the weights, the optimizer's state and the epoch of a checkpoint, this trainer's "
        "or the authors'; --epochs counts from the beginning of the run it is of",
    )
    add_options(parser, Config)
    return parser


def given_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a command line sets: by itself, by its YAML file, by its preset, in this order.

    Args:
        arguments: Options by name, and perhaps ``config`` and ``preset``.

    Raises:
        TrainerError: the YAML file cannot be read or is wrong.
    """
    single = dict(arguments)
    path, preset = single.pop("config", None), single.pop("preset", None)
    from_file = read_yaml(path, Config, also={"preset": str}) if path is not None else {}
    preset = preset or from_file.pop("preset", None) or "small"
    from_file.pop("preset", None)
    if preset not in PRESETS:
        raise TrainerError(f"preset in {path} must be one of {', '.join(PRESETS)}, got {preset!r}")
    return {**PRESETS[preset], **from_file, **single}


def saved_config(saved: Mapping[str, Any]) -> Config:
    """Return the configuration that ``Config.as_dict`` was asked for.

    Raises:
        TrainerError: it is of another version.
    """
    names = {entry.name for entry in fields(Config)}
    if set(saved) != names:
        differing = ", ".join(sorted(names.symmetric_difference(saved)))
        raise TrainerError(
            f"the checkpoint's options are not those of this version ({differing}); start a new run"
        )
    return Config(**{name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()})


def resumed_config(saved: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    """Return the configuration of a resumed run: the saved one, with what may change taken from ``given``.

    Args:
        saved: Options from the checkpoint.
        given: Options given now.

    Raises:
        TrainerError: a given option contradicts the saved one, or the saved ones are of another version.
    """
    config = saved_config(saved)
    for name, value in given.items():
        made_with = getattr(config, name)
        # Shards are dealt to the workers; whatever else is read, their number changes nothing.
        changeable = name in CHANGEABLE_ON_RESUME or name == "workers" and config.data != "webdataset"
        if not changeable and value != made_with:
            raise TrainerError(
                f"{flag(name)} {shown(value)} contradicts the checkpoint, which was made with "
                f"{shown(made_with)}; leave out what sets it to resume, or start a new run in another --run-dir"
            )
    return replace(config, **given)
