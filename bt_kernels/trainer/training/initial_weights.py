"""A new run whose backbone begins with the weights of a file, and the rest of it as any run does."""

from __future__ import annotations

from pathlib import Path

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.option import flag, shown
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.replicas import load_network
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.weights.export import normalisation
from bt_kernels.trainer.weights.load import read_backbone
from bt_kernels.trainer.weights.reading import read_description


def begin_with(path: Path, state: Pretraining) -> list[str]:
    """Give the backbone of a new run the weights of a file.

    The projector begins anew, also where the file has one: its widths and its loss may have been others.

    Args:
        path: Anything that ``read_backbone`` takes.
        state: The run, at its beginning; of several ranks each reads the file.

    Returns:
        Sentences about what was taken, and about what the file says that differs from this run.

    Raises:
        TrainerError: the file cannot be read, its weights do not fit, or it says that its stem or shortcuts are
            others; the network is as it was.
    """
    config, backbone = state.config, state.network.backbone
    said = differences(path, config)
    weights = read_backbone(path, backbone)
    load_network(backbone, weights.state)
    return [f"initial weights {path}: {weights.taken}; the projector begins anew", *said]


def differences(path: Path, config: Config) -> list[str]:
    """Return sentences about what a file says of its backbone that is not so in a run.

    Raises:
        TrainerError: it cannot be read, or its backbone computes other features from the same weights.
    """
    theirs = read_description(path)
    own = {**config.as_dict(), **normalisation(config.data)}
    if "data" in theirs:
        theirs = {**normalisation(theirs["data"]), **theirs}
    for name in ("stem", "shortcuts"):
        if theirs.get(name, own[name]) != own[name]:
            raise TrainerError(
                f"{flag(name)} {own[name]} is not that of {path}, {shown(theirs[name])}, and makes other features "
                f"of its weights; use {flag(name)} {shown(theirs[name])}"
            )
    said = [
        f"{path} was trained with {name.replace('_', ' ')} {shown(theirs[name])}, and this run has {own[name]}"
        for name in ("backbone", "image_size", "mean", "std")
        if theirs.get(name, own[name]) != own[name]
    ]
    if "shortcuts" not in theirs and config.shortcuts != "strided":
        said.append(
            f"{path} does not say what its shortcuts are, and this run's are {config.shortcuts}; with others than "
            "its own the features are not the same, and torchvision's, timm's and the authors' are strided"
        )
    return said
