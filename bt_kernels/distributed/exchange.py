"""Samples of all features against features of all samples: the all-to-all of embeddings and of their gradients.

Rank k owns features_of(D, W, k) features, one after the other. What goes to one rank has to lie together, so a
rank's (n, D) are copied into W blocks (n, D_k); what arrives, blocks (n_r, D_k) one below the other, is (N, D_k)
as it is. Back it is the other way round. Everything travels in the dtype that it has.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.distributed as dist
from torch import Tensor

from bt_kernels.distributed.cost import features_of
from bt_kernels.distributed.group import Ranks


class Layout(NamedTuple):
    """Who has what."""

    ranks: Ranks
    rows: tuple[int, ...]  # of each rank
    d: int

    @property
    def n(self) -> int:
        return sum(self.rows)

    @property
    def own_rows(self) -> int:
        return self.rows[self.ranks.rank]

    @property
    def own_features(self) -> int:
        return features_of(self.d, self.ranks.size, self.ranks.rank)


class Pending(NamedTuple):
    """A collective under way; wait() gives what arrived. On a GPU it is the stream that waits."""

    work: dist.Work
    result: Callable[[], Tensor]

    def wait(self) -> Tensor:
        self.work.wait()
        return self.result()


def blocks_of(flat: Tensor, z: Tensor, world: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of equal shape (shares, n, features of one): in flat, the blocks of one rank after the other's, and in
    z, (n, D). Two pairs, as shares have two sizes; one where W divides D."""
    n, d = z.shape
    least, larger = divmod(d, world)
    border = larger * (least + 1)
    pairs = []
    for first, last, features in ((0, border, least + 1), (border, d, least)):
        if first < last:
            shares = (last - first) // features
            there = flat[n * first : n * last].view(shares, n, features)
            pairs.append((there, z[:, first:last].unflatten(1, (shares, features)).transpose(0, 1)))
    return pairs


def exchange(
    sent: Tensor, sent_sizes: list[int], received_sizes: list[int], ranks: Ranks
) -> tuple[dist.Work, Tensor]:
    """Starts sending pieces of those sizes, one to each rank; where theirs will be."""
    received = sent.new_empty(sum(received_sizes))
    work = dist.all_to_all_single(received, sent, received_sizes, sent_sizes, group=ranks.group, async_op=True)
    assert work is not None  # async_op
    return work, received


def start_to_features(z: Tensor, layout: Layout) -> Pending:  # (n, D) -> (N, D_k)
    n, world, features = layout.own_rows, layout.ranks.size, layout.own_features
    sent = z.new_empty(n * layout.d)
    for there, here in blocks_of(sent, z, world):
        there.copy_(here)
    work, received = exchange(
        sent,
        [n * features_of(layout.d, world, rank) for rank in range(world)],
        [rows * features for rows in layout.rows],
        layout.ranks,
    )
    return Pending(work, lambda: received.view(layout.n, features))


def start_to_rows(dz: Tensor, layout: Layout) -> Pending:  # (N, D_k) -> (n, D)
    n, world, features = layout.own_rows, layout.ranks.size, layout.own_features
    work, received = exchange(
        dz.contiguous().view(-1),
        [rows * features for rows in layout.rows],
        [n * features_of(layout.d, world, rank) for rank in range(world)],
        layout.ranks,
    )

    def in_order() -> Tensor:
        out = dz.new_empty(n, layout.d)
        for there, here in blocks_of(received, out, world):
            here.copy_(there)
        return out

    return Pending(work, in_order)


def add_up(x: Tensor, ranks: Ranks) -> Tensor:
    """The sum of x over all ranks, in place; the same bits on every rank."""
    dist.all_reduce(x, group=ranks.group)
    return x
