"""Where a run's configuration comes from: single options, a YAML file, a preset, the run that is resumed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from bt_kernels.trainer.config.config import Config
from bt_kernels.trainer.config.option import (
    OptionParser,
    add_options,
    flag,
    not_among,
    path_argument,
    read_yaml,
    shown,
    typed,
)
from bt_kernels.trainer.config.parts import DOWNLOADED, USUAL_SIDE, usual_workers
from bt_kernels.trainer.config.preset_values import BY_MACHINE, PRESET_OF, PRESETS
from bt_kernels.trainer.errors import TrainerError

# Where a run and its data lie and how it is carried out may change when it is resumed; nothing that decides its
# numbers may. Whether data_dir and shards hold the same data the checkpoint knows, better than their names do.
CHANGEABLE_ON_RESUME = (
    "run_dir", "device", "data_dir", "shards", "max_image_pixels", "checkpoint_every", "keep_checkpoints",
    "knn_every", "tensorboard",
)  # fmt: skip


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line: where the options come from, and one option per field of ``Config``.

    Args:
        arguments: The command, ``sys.argv``'s if None: ``--help`` names the defaults of the preset in it.
    """
    given = _given_for_help(arguments)
    parser = OptionParser(
        prog="python -m bt_kernels.trainer",
        description="Pre-train a network with the Barlow Twins loss: by default a ResNet-50 on scikit-learn's "
        "handwritten digits, without labels; on photographs of one's own with --data imagefolder --data-dir DIR; "
        "with --preset imagenet by the paper's recipe.",
        epilog="Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP save a checkpoint; the same command with --resume goes on "
        "from it. Started by torchrun --nproc-per-node W -m bt_kernels.trainer, W processes share every batch.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="settings to start from; single options go before it (default: that of the --data: small for "
        "digits, cifar for cifar10 and cifar100, photographs for all others); the defaults named below are "
        f"those of {given.preset}",
    )
    parser.add_argument(
        "--config", metavar="FILE", type=path_argument, help="YAML file of options, which go before the preset's"
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
        "--allow-changed-data",
        action="store_true",
        help="with --resume: go on although images or shards were added, removed or renamed, in the same epoch",
    )
    parser.add_argument(
        "--continue-from",
        metavar="FILE",
        type=path_argument,
        help="start a new run from the weights, the optimizer's state and the epoch of a checkpoint, this "
        "trainer's or the authors'; --epochs counts from the beginning of the run it is of. For weights alone: "
        "--initial-weights",
    )
    add_options(parser, Config, defaults=given.defaults)
    return parser


def _given_for_help(arguments: Sequence[str] | None) -> Given:
    """What decides about the defaults; a value that is wrong is refused elsewhere, by the whole parser."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--preset", nargs="?")
    parser.add_argument("--data", nargs="?")
    parser.add_argument("--config", nargs="?", type=path_argument)
    given = vars(parser.parse_known_args(arguments)[0])
    try:
        return given_options({name: value for name, value in given.items() if value is not None})
    except TrainerError:
        return Given({})


@dataclass(frozen=True)
class Given:
    """The options that a command line sets, by where they come from.

    Args:
        single: By itself or by its YAML file.
        preset: The preset that it names, or that of its data.
        named: Whether it names one.
    """

    single: Mapping[str, Any]
    preset: str = "small"
    named: bool = False

    @property
    def data(self) -> str:
        """The data set."""
        return self.single.get("data", PRESETS[self.preset].get("data", Config.data))

    @property
    def defaults(self) -> dict[str, Any]:
        """The preset's, as they are for this data set and this machine."""
        defaults = dict(PRESETS[self.preset])
        if not self.named:
            defaults["image_size"] = USUAL_SIDE.get(self.data, Config.image_size)
        if self.data not in DOWNLOADED:
            defaults.pop("data_dir", None)  # of the preset's own data set
        if "workers" in defaults:
            defaults["workers"] = usual_workers(defaults["workers"])
        return defaults

    @property
    def options(self) -> dict[str, Any]:
        """All of them: single ones go before the preset's."""
        return {**self.defaults, **self.single}

    @property
    def assumed(self) -> list[str]:
        """What is taken for granted: the preset, and what it says about data that are not its own."""
        options, data, said = self.options, self.data, []
        if not {entry.name for entry in fields(Config)} <= set(self.single):
            why = "by its name" if self.named else f"that of --data {data}; --preset names another"
            said.append(f"preset {self.preset}, {why}")
        if data == "webdataset" and "epoch_images" in options and "epoch_images" not in self.single:
            said.append(
                f"an epoch is taken to be {options['epoch_images']} images, as many as ImageNet has; for other "
                "shards say how many by --epoch-images"
            )
        side, usual = options.get("image_size", Config.image_size), USUAL_SIDE.get(data)
        if side != usual and "image_size" not in self.single:
            said.append(
                f"images are seen at {side} x {side} pixels, as --preset {self.preset} has it; usual for --data "
                f"{data} is --image-size {usual}"
            )
        return said


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
    in_file = from_file.pop("preset", None)
    single = {**from_file, **single}
    if single.get("initial_weights"):  # saved, compared on resuming: it has to mean the same file from anywhere
        single["initial_weights"] = os.path.abspath(single["initial_weights"])
    preset = preset or in_file
    if preset is None:
        return Given(single, PRESET_OF.get(single.get("data", Config.data), "photographs"))
    if preset not in PRESETS:
        raise TrainerError(f"preset in {path} {not_among(preset, list(PRESETS))}")
    return Given(single, preset, named=True)


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
    options = dict(given.single)
    if given.named:
        options = {n: v for n, v in given.options.items() if n in given.single or n not in BY_MACHINE}
    for name, value in options.items():
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
    return replace(config, **options)


def _nearest_preset(config: Config) -> str:
    """The preset that a run was made with: the one that the fewest of its options differ from."""

    def differing(preset: str) -> int:
        own = {entry.name: PRESETS[preset].get(entry.name, entry.default) for entry in fields(Config)}
        return sum(getattr(config, name) != value for name, value in own.items() if name not in BY_MACHINE)

    return min(PRESETS, key=differing)
