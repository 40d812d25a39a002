"""The processes of a loss: their group, this process's rank, and where what the CPU has to know is exchanged."""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist

from bt_kernels.distributed.options import NotGiven

# The gloo group beside a group that cannot exchange CPU tensors itself, for as long as there is that group.
_control_groups: WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup] = WeakKeyDictionary()


class Ranks(NamedTuple):
    """Who takes part. Ranks are those within the group."""

    group: dist.ProcessGroup
    rank: int
    size: int


def ranks_of(process_group: dist.ProcessGroup | str | NotGiven | None) -> Ranks:
    """Raises RuntimeError where torch.distributed is not initialized, or without this process."""
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "the loss was given a process_group, but torch.distributed is not initialized: call "
            "torch.distributed.init_process_group before the loss, or leave process_group out"
        )
    group = dist.group.WORLD if process_group == "world" else process_group
    assert isinstance(group, dist.ProcessGroup)
    rank = dist.get_rank(group)
    if rank < 0:
        raise RuntimeError("this process is not in the process_group of the loss")
    return Ranks(group, rank, dist.get_world_size(group))


class ControlGroup(NamedTuple):
    """Where a few numbers are exchanged that the CPU has to have, since they decide which collectives follow."""

    group: dist.ProcessGroup
    device: torch.device  # of the tensors that it takes


def control_group(ranks: Ranks) -> ControlGroup:
    """Through the CPU where that can be had: through a GPU, it would wait for all that the GPU has still to do.

    A group that knows CPU tensors carries them. Beside a group of all processes that does not, such as that of
    init_process_group("nccl"), there is made one that does. Not so beside a part of them: torch names such a group
    by how many others a process is in, and processes that are in different numbers would wait for each other.
    """
    devices = [entry.partition(":")[0] for entry in str(dist.get_backend_config(ranks.group)).split(",")]
    if "cpu" in devices:
        return ControlGroup(ranks.group, torch.device("cpu"))
    if ranks.size < dist.get_world_size():
        return ControlGroup(ranks.group, torch.device(devices[0]))
    if ranks.group not in _control_groups:
        made = dist.new_group(backend="gloo")
        assert isinstance(made, dist.ProcessGroup)  # of all processes, and so of this one
        _control_groups[ranks.group] = made
    return ControlGroup(_control_groups[ranks.group], torch.device("cpu"))
