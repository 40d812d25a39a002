"""Names of weights as the field's files have them, and where among them a backbone's own are.

A file's name is what it holds one below the other, joined by dots: ``model.module.backbone.conv1.weight`` of
``{"model": {"module.backbone.conv1.weight": ...}}``. A backbone is found by its own names at the names' ends,
whatever stands before them: ``state_dict``, ``teacher.backbone``, ``encoder_q``, ``online_encoder.net``,
``classy_state_dict.base_model.model.trunk._feature_blocks``. So there is no list of prefixes. The tables are of
the names that mean nothing, of those that say which of two backbones is meant, and of what may stand beside one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

# Wrappers around a module, wherever and in whatever order: DataParallel, DistributedDataParallel, AveragedModel,
# DeepSpeed; torch.compile; FSDP, and that of older versions; activation checkpointing; Lightning Fabric.
WRAPPERS = frozenset({
    "module", "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module",
})  # fmt: skip

# Of two backbones in a file the one is taken that its authors evaluate: DINO's teacher, timm's moving average
# (state_dict_ema), MoCo's encoder_q and not encoder_k, the online network of BYOL and not the target, backbone and
# not momentum_backbone. The lower number goes first; a name's words count, and it is 0 without one of these.
_ORDER = {"teacher": -1, "ema": -1, "student": 1, "momentum": 1, "target": 1, "k": 1}

# Beside a backbone under the same prefix: classifiers, torchvision's auxiliary ones, projectors, MoCo's queue,
# SwAV's prototypes, MAE's decoder, AveragedModel's count. None of them makes features.
_HEADS = re.compile(
    r"fc|linear|classifier|heads?|aux\d|AuxLogits|projector|predictor|\w+_head|prototypes|queue\w*|decoder_\w+"
    r"|mask_token|n_averaged"
)

# Batch norm needs it for a cumulative average alone, and files of PyTorch before 0.4.1 have none.
UNLEARNED = ".num_batches_tracked"


class Held(NamedTuple):
    """A tensor in a file, by its whole name."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Place:
    """Where in a file a backbone's tensors are, or a part of them.

    Args:
        prefix: What stands before their names, without wrappers; "" if nothing does.
        held: The file's tensors by the backbone's names; more than one where only wrappers tell names apart.
        missing: Names of the backbone that the file lacks here.
        left_over: The file's other names with this prefix, those of heads left out.
    """

    prefix: str
    held: dict[str, list[Held]]
    missing: list[str]
    left_over: list[str]

    @property
    def order(self) -> int:
        """Which of several places is meant: the one with the lowest number."""
        return sum(_ORDER.get(word, 0) for part in self.prefix.split(".") for word in part.split("_"))


def tensors_in(content: Any) -> list[Held]:
    """Return all tensors of a file's content that stand under texts alone."""
    seen: set[int] = set()  # pickled dicts may hold themselves

    def collect(inner: Mapping[Any, Any], prefix: str) -> Iterator[Held]:
        seen.add(id(inner))
        for key, value in inner.items():
            if isinstance(key, str) and isinstance(value, Tensor):
                yield Held(prefix + key, value)
            elif isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                yield from collect(value, f"{prefix}{key}.")

    return list(collect(content, "")) if isinstance(content, Mapping) else []


def by_plain_name(held: Iterable[Held]) -> dict[str, list[Held]]:
    """Return tensors by their names without wrappers."""
    found: dict[str, list[Held]] = {}
    for one in held:
        found.setdefault(_without_wrappers(one.name), []).append(one)
    return found


def places(held: Iterable[Held], backbone: nn.Module) -> list[Place]:
    """Return where a file has the backbone's tensors, all or some of them, those with the most first.

    Args:
        held: From ``tensors_in``.
        backbone: Without a classifier: an ``nn.Identity`` is in its place.
    """
    plain = by_plain_name(held)
    found = []
    for spelling in _spellings(backbone):
        by_prefix: dict[str, dict[str, list[Held]]] = {}
        for name, same in plain.items():
            for prefix, end in _splits(name):
                if end in spelling:
                    by_prefix.setdefault(prefix, {})[spelling[end]] = same
        found += [(prefix, matches, spelling) for prefix, matches in by_prefix.items()]
    most = max((len(matches) for _, matches, _ in found), default=0)
    removed = [f"{name}." for name, module in backbone.named_modules() if isinstance(module, nn.Identity)]
    likely = [
        Place(
            prefix,
            matches,
            [name for name in spelling.values() if name not in matches and not name.endswith(UNLEARNED)],
            _left_over(plain, prefix, spelling, removed),
        )
        for prefix, matches, spelling in found
        if 2 * len(matches) >= most
    ]
    return sorted(likely, key=lambda place: -len(place.held))


def _left_over(
    plain: Iterable[str], prefix: str, spelling: Mapping[str, str], removed: Sequence[str]
) -> list[str]:
    tops = {name.partition(".")[0] for name in spelling}

    def is_head(end: str) -> bool:
        parts = end.split(".")
        if parts[0] not in tops:
            return _HEADS.fullmatch(parts[0]) is not None
        return end.startswith(tuple(removed)) and any(map(_HEADS.fullmatch, parts))

    before = f"{prefix}." if prefix else ""
    ends = [(name, name.removeprefix(before)) for name in plain if name.startswith(before)]
    return [name for name, end in ends if end not in spelling and not is_head(end)]


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All ways to see a name as a prefix and a backbone's name."""
    parts = name.split(".")
    for count in range(len(parts)):
        yield ".".join(parts[:count]), ".".join(parts[count:])


def _spellings(backbone: nn.Module) -> list[dict[str, str]]:
    """The ways in which a backbone's names are written, each to its own names.

    Users of lightly put a ResNet's children into an nn.Sequential, which numbers them; lightly's own ResNets have
    none but those with weights. In these and in many a ResNet for CIFAR a block's downsample is its shortcut.
    """
    own = {_without_wrappers(name): name for name in backbone.state_dict()}
    children = [name for name, _ in backbone.named_children()]
    weighty = [name for name, child in backbone.named_children() if child.state_dict()]
    spellings = [own]
    for numbered in (children, weighty):
        numbers = {name: str(index) for index, name in enumerate(numbered)}
        splits = ((plain.partition("."), name) for plain, name in own.items())
        spellings.append({numbers.get(top, top) + dot + rest: name for (top, dot, rest), name in splits})
    for spelling in spellings[:]:
        spellings.append({plain.replace(".downsample.", ".shortcut."): name for plain, name in spelling.items()})
    return [spelling for index, spelling in enumerate(spellings) if spelling not in spellings[:index]]
