"""What a rank puts on the wire, counted where torch.distributed is called.

    all_reduce           2 B (W - 1) / W    what a ring sends; nothing sends less without help from the network
    all_to_all_single    what goes to other ranks
    all_gather           (W - 1) B          B is what this rank has

These are the bytes of the numbers themselves. Neither headers nor how a backend really routes them are in it.
"""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import torch.distributed as dist
from torch import Tensor

from bt_kernels.distributed.cost import all_reduce_bytes

Sent = dict[str, float]  # bytes per collective


def all_gather_bytes(size: int, world: int) -> int:
    """What a rank sends when all get the bytes that each has, that many."""
    return (world - 1) * size


def of_all_reduce(tensor: Tensor, *_, group=None, **__) -> float:
    return all_reduce_bytes(tensor.nbytes, dist.get_world_size(group))


def of_all_to_all(_, tensor: Tensor, received_sizes, sent_sizes: list[int], group=None, **__) -> float:
    return (sum(sent_sizes) - sent_sizes[dist.get_rank(group)]) * tensor.itemsize


def of_all_gather(_, tensor: Tensor, *__, group=None, **___) -> float:
    return all_gather_bytes(tensor.nbytes, dist.get_world_size(group))


# By torch.distributed's names for them, all that the candidates use; nn.SyncBatchNorm's gather has had several.
COUNTED: dict[str, tuple[str, Callable[..., float]]] = {
    "all_reduce": ("all_reduce", of_all_reduce),
    "all_to_all_single": ("all_to_all_single", of_all_to_all),
    "all_gather": ("all_gather", of_all_gather),
    "all_gather_into_tensor": ("all_gather", of_all_gather),
    "all_gather_single": ("all_gather", of_all_gather),
}


@contextlib.contextmanager
def counted() -> Iterator[Sent]:
    """The bytes that this rank sends meanwhile."""
    sent: Sent = {}

    def counting(name: str) -> Callable:
        call, (kind, bytes_of) = getattr(dist, name), COUNTED[name]

        def collective(*arguments, **named):
            sent[kind] = sent.get(kind, 0) + bytes_of(*arguments, **named)
            return call(*arguments, **named)

        return collective

    with contextlib.ExitStack() as patches:
        for name in COUNTED:
            if hasattr(dist, name):
                patches.enter_context(mock.patch.object(dist, name, counting(name)))
        yield sent
