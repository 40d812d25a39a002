"""The processes of a loss: their group, this process's rank, and where what the CPU has to know is exchanged."""

from typing import NamedTuple

import torch.distributed as dist

# The gloo group beside each group that cannot exchange CPU tensors itself.
_control_groups: dict[dist.ProcessGroup, dist.ProcessGroup] = {}


class Ranks(NamedTuple):
    """Who takes part. Ranks are those within the group."""

    group: dist.ProcessGroup
    rank: int
    size: int


def ranks_of(process_group: dist.ProcessGroup | str) -> Ranks:
    """Raises RuntimeError where torch.distributed is not initialized, or without this process."""
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "the loss was given a process_group, but torch.distributed is not initialized: call "
            "torch.distributed.init_process_group before the loss, or leave process_group out"
        )
    group = dist.group.WORLD if process_group == "world" else process_group
    rank = dist.get_rank(group)
    if rank < 0:
        raise RuntimeError("this process is not in the process_group of the loss")
    return Ranks(group, rank, dist.get_world_size(group))


def control_group(ranks: Ranks) -> dist.ProcessGroup:
    """A group of the same ranks for CPU tensors.

    What it carries decides which collectives follow, so the CPU has to have it. Through a GPU that would wait for all
    that the GPU has still to do; through gloo it goes on beside it.
    """
    backends = dist.get_backend_config(ranks.group)  # "cpu:gloo,cuda:nccl"
    if any(entry.partition(":")[0] == "cpu" for entry in str(backends).split(",")):
        return ranks.group
    if ranks.group not in _control_groups:
        members = dist.get_process_group_ranks(ranks.group)
        _control_groups[ranks.group] = dist.new_group(members, backend="gloo", use_local_synchronization=True)
    return _control_groups[ranks.group]
