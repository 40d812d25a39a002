"""A backbone's weights out of any file that holds them, and into the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.weights.reading import read_content

# What is put around a network adds to the names: DistributedDataParallel, torch.compile.
_AROUND = ("module.", "_orig_mod.")
_BACKBONE = "backbone."
_SHOWN = 3


def load_backbone_weights(path: Path) -> dict[str, Tensor]:
    """Return the backbone's state_dict from a file, on the CPU.

    Args:
        path: An exported .pth or .safetensors, a checkpoint of this trainer's or of the authors' code, or a
            state_dict, alone or under "state_dict" or "model", of a backbone or of a network that has one as
            ``backbone``. Names may begin with ``module.``.

    Raises:
        TrainerError: it is missing, damaged, or holds no such weights.
    """
    weights = unwrap(read_content(path))
    if not weights:
        raise TrainerError(f"{path} holds no weights of a network; give an exported backbone or a checkpoint")
    own = {name.removeprefix(_BACKBONE): tensor for name, tensor in weights.items() if name.startswith(_BACKBONE)}
    return own or weights


def unwrap(content: Any) -> dict[str, Tensor]:
    """Return the state_dict in a file's content, without what stands around it and around its names.

    Returns:
        Tensors by name; none if there is no state_dict.
    """
    if not isinstance(content, Mapping):
        return {}
    for outer, inner in (("training", "network"), ("state_dict", None), ("model", None)):
        if isinstance(content.get(outer), Mapping):
            content = content[outer] if inner is None else content[outer].get(inner)
            break
    if not isinstance(content, Mapping):
        return {}
    weights = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    for prefix in _AROUND:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def load_into(backbone: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load a backbone's weights; all have to be there and to fit, only a classifier's may be left over.

    Args:
        backbone: Without a classifier: an ``nn.Identity`` is in its place.
        weights: From ``load_backbone_weights``.
        path: Their file, for the error.

    Raises:
        TrainerError: weights are missing, left over, or of other shapes; the backbone is as it was.
    """
    own = backbone.state_dict()
    removed = {name for name, module in backbone.named_modules() if isinstance(module, nn.Identity)}
    weights = {name: tensor for name, tensor in weights.items() if name.rpartition(".")[0] not in removed}
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    differing = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    remedy = "name the backbone that they are of by --backbone and --stem"
    if missing or unexpected:
        parts = [
            f"{shown(names)} {verb}" for names, verb in ((missing, "missing"), (unexpected, "left over")) if names
        ]
        raise TrainerError(f"the weights in {path} are another network's: {', '.join(parts)}; {remedy}")
    if differing:
        first = differing[0]
        raise TrainerError(
            f"the weights in {path} are another network's: {first} is {_size(weights[first])}, not "
            f"{_size(own[first])}; {remedy}"
        )
    backbone.load_state_dict(dict(weights))


def shown(names: list[str]) -> str:
    """The first few of many names."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
