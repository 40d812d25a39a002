"""What test_step_on_ranks.py runs on two ranks: a step in chunks by DDP and FSDP2, and LARS on FSDP2's parts."""

from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.optimization.lars import LARS
from bt_kernels.trainer.parallel.replicas import synchronizer
from bt_kernels.trainer.training.accumulation import forward_backward

RANKS, ROWS, STEPS = 2, (5, 6), 4  # rows of each rank, in chunks of 3, 2 and of 3, 3
# What FSDP2 calls; renamed in 2.13.
REDUCE_SCATTER = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"


class Twins(nn.Module):
    """Without batch norm; the last layer has a row for one rank only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 7), nn.GroupNorm(1, 7), nn.Tanh(), nn.Linear(7, 5))
        self.gate = nn.Linear(5, 1)
        self.double()

    def forward(self, view_a, view_b):
        z = self.layers(torch.cat((view_a, view_b)))
        return (z * self.gate(z).sigmoid()).chunk(2)


def views():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(sum(ROWS), 6, generator=generator, dtype=torch.float64) for _ in "ab"]


def chunked_step(network, rows=slice(None), chunks=1, exact=True, group=None):
    criterion = BarlowTwinsLoss(process_group=group).terms
    return forward_backward(
        network, criterion, *(view[rows] for view in views()),
        chunks=chunks, exact=exact, gradient_divisor=1.0, autocast=nullcontext, scale=lambda loss: loss,
        synchronize=synchronizer(network), check=lambda result: None,
    )  # fmt: skip


def lars(network):
    return LARS(network.parameters(), lr=1.0, weight_decay=0.1, trust_coefficient=0.1)


def whole(tensors):
    return [t.full_tensor() if isinstance(t, DTensor) else t.detach().clone() for t in tensors]


def spread():
    network = Twins()
    for module in (*network.layers, network):
        if next(module.parameters(), None) is not None:
            fully_shard(module, mesh=init_device_mesh("cpu", (RANKS,)))
    return network


@contextmanager
def recorded(collective):
    """The shapes of the first tensors that a collective of torch.distributed is called with."""
    shapes, original = [], getattr(dist, collective)

    def call(*arguments, **options):
        tensors = [*arguments, *options.values()]
        shapes.append(tensors[0].shape)
        return original(*arguments, **options)

    setattr(dist, collective, call)
    try:
        yield shapes
    finally:
        setattr(dist, collective, original)


def replicated(found):
    """A replica that counts the exchanges of gradients in ``found``."""
    replica = nn.parallel.DistributedDataParallel(Twins())
    found["exchanges"] = 0

    def counted(state, bucket):
        found["exchanges"] += 1
        return allreduce_hook(state, bucket)

    replica.register_comm_hook(None, counted)
    return replica


def measure(rank, meeting, answer):
    """Started on every rank; rank 0 saves what it found to the file ``answer``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    rows = slice(sum(ROWS[:rank]), sum(ROWS[: rank + 1]))
    found = {}
    for name, exact in (("exact", True), ("ordinary", False)):
        found[f"ddp {name}"] = {}
        replica = replicated(found[f"ddp {name}"])
        result = chunked_step(replica, rows, 2, exact, "world")
        found[f"ddp {name}"] |= {
            "loss": result.loss,
            "gradients": whole(p.grad for p in replica.module.parameters()),
        }
        del replica

        network = spread()
        with recorded(REDUCE_SCATTER) as exchanges:
            result = chunked_step(network, rows, 2, exact, "world")
        gradients = whole(p.grad for p in network.parameters())
        found[f"fsdp {name}"] = {"loss": result.loss, "gradients": gradients, "exchanges": len(exchanges)}

    network = spread()
    found["rows of the gate"] = len(network.gate.weight.to_local())
    optimizer = lars(network)
    reduced = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        chunked_step(network, rows, group="world")
        with recorded("all_reduce") as shapes:
            optimizer.step()
        reduced += shapes
    found["lars"] = {"weights": whole(network.parameters()), "reduced": reduced}
    found["lars"]["momenta"] = whole(optimizer.state[p]["mu"] for p in network.parameters())
    if rank == 0:
        torch.save(found, answer)
    dist.barrier()
    dist.destroy_process_group()
