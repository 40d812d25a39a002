"""Named settings, complete for a task, and where a run's configuration comes from.

``imagenet`` is the recipe of the authors' repository. It differs from the paper in the weight decay (1e-6; the
paper has 1.5e-6) and in the weight of the redundancy term (0.0051; the paper has 0.005). Two things are not the
authors': bfloat16 where they have float16 with a scaled gradient, and batch 2048 on any number of ranks, with
``gradient_divisor`` for what their number of GPUs did to the gradient.

``cifar`` has the network, loss, batch and optimizer of lightly's CIFAR-10 benchmark
(docs/source/getting_started/benchmarks/cifar10_benchmark.py). Not lightly's are the colours, the paper's, a
learning rate that falls step by step instead of epoch by epoch, and weight decay of weights alone. ``small`` is
the digits' demonstration.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from bt_kernels.trainer.config.config import Config
from bt_kernels.trainer.config.option import OptionParser, add_options, flag, not_among, read_yaml, shown, typed
from bt_kernels.trainer.config.parts import WITHOUT_FOLDER
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
    "run_dir", "device", "data_dir", "max_image_pixels", "checkpoint_every", "keep_checkpoints", "knn_every",
    "tensorboard",
)  # fmt: skip


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line: where the options come from, and one option per field of ``Config``.

    Args:
        arguments: The command, ``sys.argv``'s if None: ``--help`` names the defaults of the preset in it.
    """
    preset = _preset_in(arguments)
    parser = OptionParser(
        prog="python -m bt_kernels.trainer",
        description="Pre-train a network with the Barlow Twins loss: by default a ResNet-50 on scikit-learn's "
        "handwritten digits, without labels; with --preset imagenet by the paper's recipe.",
        epilog="Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP save a checkpoint; the same command with --resume goes on "
        "from it. Started by torchrun --nproc-per-node W -m bt_kernels.trainer, W processes share every batch.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="settings to start from; single options go before it (default: small); the defaults named below are "
        f"those of {preset}",
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
        help="start a new run from the weights, the optimizer's state and the epoch of a checkpoint, this "
        "trainer's or the authors'; --epochs counts from the beginning of the run it is of",
    )
    add_options(parser, Config, defaults=PRESETS[preset])
    return parser


def _preset_in(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    named = parser.parse_known_args(arguments)[0].preset
    return named if named in PRESETS else "small"  # another name is refused by the whole parser


@dataclass(frozen=True)
class Given:
    """The options that a command line sets, by where they come from.

    Args:
        single: By itself or by its YAML file.
        preset: The preset that it names, or "small".
    """

    single: Mapping[str, Any]
    preset: str = "small"

    @property
    def options(self) -> dict[str, Any]:
        """All of them: single ones go before the preset's."""
        options = {**PRESETS[self.preset], **self.single}
        if options.get("data", Config.data) in WITHOUT_FOLDER and "data_dir" not in self.single:
            options.pop("data_dir", None)  # of the preset's own data set
        return options

    @property
    def assumed(self) -> str | None:
        """What the preset takes for granted about data that are not its own; None if nothing."""
        options = self.options
        if options.get("data") != "webdataset" or "epoch_images" in self.single or "epoch_images" not in options:
            return None
        return (
            f"an epoch is taken to be {options['epoch_images']} images, as many as ImageNet has; for other shards "
            "say how many by --epoch-images"
        )


def given_options(arguments: Mapping[str, Any]) -> Given:
    """Return the options that a command line sets; they go before its YAML file's, and these before its preset's.

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
        raise TrainerError(f"preset in {path} {not_among(preset, list(PRESETS))}")
    return Given({**from_file, **single}, preset)


def saved_config(saved: Mapping[str, Any]) -> Config:
    """Return the configuration that ``Config.as_dict`` was asked for.

    Raises:
        TrainerError: it is of another version, or a value has another type or is out of range.
    """
    names = {entry.name for entry in fields(Config)}
    if set(saved) != names:
        differing = ", ".join(sorted(names.symmetric_difference(saved)))
        raise TrainerError(
            f"the checkpoint's options are not those of this version ({differing}); start a new run"
        )
    types = get_type_hints(Config)
    return Config(**{name: typed(value, types[name], f"the saved {flag(name)}") for name, value in saved.items()})


def resumed_config(saved: Mapping[str, Any], given: Given) -> Config:
    """Return the configuration of a resumed run: the saved one, with what may change taken from ``given``.

    Args:
        saved: Options from the checkpoint.
        given: Options given now.

    Raises:
        TrainerError: a given option contradicts the saved one, or the saved ones are of another version.
    """
    config = saved_config(saved)
    for name, value in given.options.items():
        made_with = getattr(config, name)
        # Shards are dealt to the workers; whatever else is read, their number changes nothing.
        changeable = name in CHANGEABLE_ON_RESUME or (name == "workers" and config.data != "webdataset")
        if not changeable and value != made_with:
            if name not in given.single:
                own = _nearest_preset(config)
                remedy = f"name --preset {own}, the run's own" if own != given.preset else "leave out --preset"
                raise TrainerError(
                    f"--preset {given.preset} sets {flag(name)} {shown(value)}, and the checkpoint was made with "
                    f"{shown(made_with)}; {remedy}, to resume, or start a new run in another --run-dir"
                )
            raise TrainerError(
                f"{flag(name)} {shown(value)} contradicts the checkpoint, which was made with "
                f"{shown(made_with)}; leave out what sets it to resume, or start a new run in another --run-dir"
            )
    return replace(config, **given.options)


def _nearest_preset(config: Config) -> str:
    """The preset that a run was made with: the one that the fewest of its options differ from."""

    def differing(preset: str) -> int:
        own = {entry.name: PRESETS[preset].get(entry.name, entry.default) for entry in fields(Config)}
        return sum(getattr(config, name) != value for name, value in own.items())

    return min(PRESETS, key=differing)
