"""Checkpoints of the authors' code (github.com/facebookresearch/barlowtwins): reading them, going on from them.

Such a file holds {"epoch": the next epoch, "model": the state_dict of DistributedDataParallel around backbone,
projector and the loss's batch norm ``bn``, "optimizer": LARS's state_dict}. Its optimizer has two groups, of the
parameters with more than one dimension and of the others, each in the network's order, and a momentum "mu" for
every parameter. The projector's layers are numbered as here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.convolution import PooledShortcut
from bt_kernels.trainer.model.network import BarlowTwinsNetwork
from bt_kernels.trainer.optimization.lars import LARS
from bt_kernels.trainer.parallel.replicas import is_spread, load_network, load_optimizer
from bt_kernels.trainer.weights.load import shown, state_of
from bt_kernels.trainer.weights.reading import read_content

_KEYS = {"epoch", "model", "optimizer"}
# The loss here keeps no running averages: it normalises by the batch alone, as theirs does in training.
_LOSS_BUFFERS = ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What a run goes on from.

    Args:
        path: The file.
        epoch: Epochs that were trained.
        model: State of a ``BarlowTwinsNetwork``.
        momentum: By group, weights first: the momenta of its parameters in their order, None for a parameter
            that never had a gradient.
    """

    path: Path
    epoch: int
    model: dict[str, Tensor]
    momentum: tuple[tuple[Tensor | None, ...], ...]


def is_official(path: Path, content: Any) -> bool:
    """Return whether a file's content is a checkpoint of the authors' code.

    Raises:
        TrainerError: two names of its network differ in wrappers alone.
    """
    return (
        isinstance(content, Mapping)
        and set(content) >= _KEYS
        and _LOSS_BUFFERS[0] in state_of(path, content["model"])
    )


def read_official(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint of the authors' code.

    Raises:
        TrainerError: it cannot be read, or is no such checkpoint.
    """
    content = read_content(path)
    if not is_official(path, content):
        raise TrainerError(f"{path} is no checkpoint of the authors' code")
    model = state_of(path, content["model"])
    width = [tensor for name, tensor in model.items() if name.startswith("projector.")][-1:]
    size = width[0].shape[:1] if width else None
    if any(name not in model or (model[name].ndim and model[name].shape != size) for name in _LOSS_BUFFERS):
        raise _incomplete(path, "the buffers of the loss's batch norm (bn) are not those of its projector")
    epoch = content["epoch"]
    if type(epoch) is not int or epoch < 0:
        raise _incomplete(path, f"its epoch is {epoch!r}")
    try:
        optimizer = content["optimizer"]
        groups = [group["params"] for group in optimizer["param_groups"]]
        momentum = tuple(tuple(optimizer["state"].get(index, {}).get("mu") for index in group) for group in groups)
    except (KeyError, TypeError, AttributeError):
        raise _incomplete(path, "its optimizer's state is no state_dict of LARS") from None
    weights = {name: tensor for name, tensor in model.items() if name not in _LOSS_BUFFERS}
    return OfficialCheckpoint(path, epoch, weights, momentum)


def _incomplete(path: Path, why: str) -> TrainerError:
    return TrainerError(f"{path} is no whole checkpoint of the authors' code: {why}")


def continue_from(checkpoint: OfficialCheckpoint, network: BarlowTwinsNetwork, optimizer: Optimizer) -> int:
    """Load weights and momenta into a run of the same network.

    The momenta of biases and norms were summed from gradients of 1/W, W being the authors' GPUs, so the run goes
    on as theirs with ``gradient_divisor`` W. The learning rates are the run's own.

    Args:
        checkpoint: From ``read_official``.
        network: May be spread over ranks.
        optimizer: LARS, with the groups of ``build_optimizer``.

    Returns:
        The epochs that were trained already.

    Raises:
        TrainerError: network or optimizer are not those of the checkpoint; both are as they were.
    """
    _check_network(checkpoint, network)
    if not isinstance(optimizer, LARS):
        raise TrainerError(f"{checkpoint.path} holds the momenta of LARS; use --optimizer lars to go on from it")
    state = {"state": _momenta(checkpoint, optimizer), "param_groups": optimizer.state_dict()["param_groups"]}
    load_network(network, checkpoint.model)
    load_optimizer(optimizer, state)
    return checkpoint.epoch


def _check_network(checkpoint: OfficialCheckpoint, network: BarlowTwinsNetwork) -> None:
    path, own, theirs = checkpoint.path, network.state_dict(), checkpoint.model
    if any(isinstance(module, PooledShortcut) for module in network.modules()):
        raise TrainerError(
            f"the network in {path} has strided shortcuts; use --shortcuts strided to go on from it"
        )
    widths, own_widths = _widths(theirs), _widths(own)
    if widths != own_widths:
        raise TrainerError(f"the projector in {path} is {widths}, not {own_widths}; use --projector {widths}")
    differing = [name for name in own if name not in theirs or own[name].shape != theirs[name].shape]
    differing += [name for name in theirs if name not in own]
    if differing:
        raise TrainerError(
            f"the backbone in {path} is another one ({shown(differing)} differ); name it by --backbone"
        )


def _widths(model: Mapping[str, Tensor]) -> str:
    """The projector's widths as --projector takes them."""
    layers = [t for name, t in model.items() if name.startswith("projector.") and t.ndim == 2]
    return "-".join(str(layer.shape[0]) for layer in layers)


def _momenta(checkpoint: OfficialCheckpoint, optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """LARS's state by the parameter's index over all groups."""
    groups = [group["params"] for group in optimizer.param_groups]
    shapes = [[p.shape for p in group] for group in groups]
    theirs = [
        [shape if mu is None else mu.shape for mu, shape in zip(mus, own, strict=False)]
        for mus, own in zip(checkpoint.momentum, shapes, strict=False)
    ]
    if [len(mus) for mus in checkpoint.momentum] != [len(group) for group in groups] or theirs != shapes:
        raise _incomplete(checkpoint.path, "its optimizer's groups are not the network's weights and biases")
    parameters = [p for group in groups for p in group]
    momenta = [mu for mus in checkpoint.momentum for mu in mus]
    return {
        index: {"mu": _laid_out_as(p, mu)}
        for index, (p, mu) in enumerate(zip(parameters, momenta, strict=True))
        if mu is not None
    }


def _laid_out_as(parameter: Tensor, momentum: Tensor) -> Tensor:
    """A copy of a momentum with its parameter's strides, for which the update is a single pass over memory."""
    if is_spread(parameter):
        return momentum
    return torch.empty_like(parameter, device="cpu").copy_(momentum)
