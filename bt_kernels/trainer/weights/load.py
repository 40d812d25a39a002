"""A backbone's weights out of any file that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.replicas import is_spread
from bt_kernels.trainer.weights.names import UNLEARNED, Held, Place, by_plain_name, places, tensors_in
from bt_kernels.trainer.weights.reading import StandIn, objects_inside, read_content

_SHOWN = 3


@dataclass(frozen=True)
class BackboneWeights:
    """What a file gives a backbone.

    Args:
        state: State of the backbone, whole and on the CPU, as in the file; the counts of batch norms that it lacks
            are the backbone's own.
        taken: What was taken and what not, a part of a sentence.
    """

    state: dict[str, Tensor]
    taken: str


def read_backbone(path: Path, backbone: nn.Module) -> BackboneWeights:
    """Return the weights of a backbone from a file; all have to be there and to fit.

    Of several such backbones in a file the one is taken that their authors evaluate (``names.Place.order``).

    Args:
        path: An exported .pth or .safetensors, a checkpoint of this trainer's, of the authors' code or of others,
            or any dict of names and tensors, however deep in it the backbone is.
        backbone: Without a classifier: an ``nn.Identity`` is in its place. It is left as it is.

    Raises:
        TrainerError: the file is missing or damaged, holds no such backbone, or several and it is not known which
            one is meant.
    """
    content = read_content(path)
    held = tensors_in(content)
    if not held:
        raise _no_weights(path, content)
    found, own = places(held, backbone), backbone.state_dict()
    fitting = [place for place in found if not (place.missing or place.left_over or _differing(place, own))]
    if not fitting:
        raise _another_network(path, held, found, own)
    place, *others = sorted(fitting, key=lambda place: place.order)
    for other in others:
        if other.order == place.order and not _same(place, other):
            raise TrainerError(
                f"{path} holds two such backbones, {_where(place)} and {_where(other)}, and nothing says which "
                "one is meant; save the state_dict() of one in a file of its own"
            )
    state = {name: _single(path, name, place.held[name]) if name in place.held else own[name] for name in own}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise TrainerError(f"{name} in {path} holds values that are not finite; give weights from before that")
    return BackboneWeights(state, _taken(place, others, held, own))


def shown(names: list[str]) -> str:
    """The first few of many names."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def state_of(path: Path, content: Any) -> dict[str, Tensor]:
    """Return a network's state_dict with plain names: without the wrappers that a file has in them.

    Raises:
        TrainerError: two names differ in wrappers alone.
    """
    return {name: _single(path, name, same) for name, same in by_plain_name(tensors_in(content)).items()}


def _single(path: Path, name: str, same: list[Held]) -> Tensor:
    first, *others = same
    for other in others:
        if not _equal(first.tensor, other.tensor):
            raise TrainerError(f"{first.name} and {other.name} in {path} are both {name}, and they differ")
    return first.tensor


def _same(place: Place, other: Place) -> bool:
    return all(_equal(same[0].tensor, other.held[name][0].tensor) for name, same in place.held.items())


def _equal(tensor: Tensor, other: Tensor) -> bool:
    return _kind(tensor) == _kind(other) and _is_plain(tensor) and torch.equal(tensor, other)


def _differing(place: Place, own: Mapping[str, Tensor]) -> list[str]:
    """Own names whose tensors in the file are of another shape or kind."""
    return [
        name
        for name, same in place.held.items()
        for tensor in (same[0].tensor,)
        if _kind(tensor) != _kind(own[name]) or not _is_plain(tensor)
    ]


def _kind(tensor: Tensor) -> tuple[torch.Size, bool, bool]:
    """What has to be the same for one tensor to be copied into another; only the width of floats may differ."""
    return tensor.shape, tensor.is_floating_point(), tensor.is_complex()


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized or is_spread(tensor))


def _no_weights(path: Path, content: Any) -> TrainerError:
    inside = [content, *(content.values() if isinstance(content, Mapping) else ())]
    objects = [value.origin for value in inside if isinstance(value, StandIn)]
    if objects:
        return objects_inside(path, objects[0])
    return TrainerError(f"{path} holds no weights of a network; give an exported backbone or a checkpoint")


def _another_network(path: Path, held: list[Held], found: list[Place], own: Mapping[str, Tensor]) -> TrainerError:
    if not found or 2 * len(found[0].held) < len(own):
        return TrainerError(
            f"{path} holds no such backbone: looked for {shown(list(own))}, at the end of any name, and found "
            f"{shown([one.name for one in held])}; give weights of this --backbone, or name the one they are of"
        )
    place = min(
        found, key=lambda place: (-len(place.held), len(place.missing) + len(place.left_over), place.order)
    )
    differing = _differing(place, own)
    said = [
        f"{shown(names)} {verb}"
        for names, verb in ((place.missing, "missing"), (place.left_over, "left over"))
        if names
    ]
    strange = [name for name in differing if not _is_plain(place.held[name][0].tensor)]
    if strange:
        return TrainerError(f"{strange[0]} in {path} is sparse, quantized or without values; save plain tensors")
    if differing:
        first = differing[0]
        said.append(f"{first} is {_described(place.held[first][0].tensor)}, not {_described(own[first])}")
    if differing == ["conv1.weight"] and not place.missing and not place.left_over:
        side = place.held["conv1.weight"][0].tensor.shape[-1:]
        remedy = f"use --stem {'small' if side == (3,) else 'imagenet'}"
    elif place.missing and not place.left_over and not differing:
        remedy = "give all of them, or name the backbone that they are of by --backbone"
    else:
        remedy = "name the backbone that they are of by --backbone"
    where = f" under {place.prefix}" if place.prefix else ""
    return TrainerError(f"the weights in {path}{where} are another network's: {', '.join(said)}; {remedy}")


def _described(tensor: Tensor) -> str:
    size = "x".join(map(str, tensor.shape)) or "a single number"
    return size if tensor.is_floating_point() else f"{size} of {str(tensor.dtype).removeprefix('torch.')}"


def _where(place: Place) -> str:
    return place.prefix or "one without a prefix"


def _taken(place: Place, others: list[Place], held: list[Held], own: Mapping[str, Tensor]) -> str:
    said = f"{len(place.held)} tensors of the backbone" + (f" (of {place.prefix})" if place.prefix else "")
    if others:
        said += f", not those of {' and '.join(_where(other) for other in others)}"
    if len(place.held) < len(own):
        said += f"; not in it: {len(own) - len(place.held)} batch norms'{UNLEARNED.replace('.', ' ')}"
    used = {id(one.tensor) for each in (place, *others) for same in each.held.values() for one in same}
    unused = [one.name for one in held if id(one.tensor) not in used]
    if unused:
        modules = dict.fromkeys(re.split(r"\.\d+\b", name)[0] for name in unused)
        said += f"; unused: {len(unused)} ({shown(list(modules))})"
    return said
