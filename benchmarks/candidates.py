"""Everything that is timed, in the order of the table: names, how each is built, and what it needs.

A built candidate is a step: a call without arguments that runs forward and backward once and leaves fresh gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.cell import Cell
from benchmarks.cuda_graph import capture
from benchmarks.floor import floor_bytes, gemm_floor
from bt_kernels import barlow_twins_loss

Step = Callable[[], Tensor | None]
OURS, GRAPH, FLOOR = "bt_kernels", "bt_kernels_graph", "floor"


@dataclass(frozen=True)
class Candidate:
    name: str
    label: str
    build: Callable[[int, torch.device, torch.dtype], baselines.Loss] | None = (
        None  # None: bt_kernels or the floor
    )
    compiled: bool = False
    square_matrices: float = 0  # D x D matrices alive at the peak
    quick: bool = True  # part of --quick
    widened: bool = False  # computes in float32, whatever the embeddings are


CANDIDATES = {
    c.name: c
    for c in (
        Candidate(OURS, "bt_kernels"),
        Candidate(GRAPH, "bt_kernels, graph"),
        Candidate(
            "official_float32", "official, float32", baselines.official_float32, square_matrices=4.2, widened=True
        ),
        Candidate("official", "official formula", baselines.official, square_matrices=4.2),
        Candidate("official_compiled", "official, compiled", baselines.official, True, square_matrices=5.1),
        Candidate("solo_learn", "solo-learn", baselines.solo_learn, square_matrices=9.4, quick=False),
        Candidate("gram", "gram, plain torch", baselines.gram),
        Candidate("gram_compiled", "gram, compiled", baselines.gram, True),
        Candidate(FLOOR, "GEMM-only floor"),
    )
}


def applies(name: str, cell: Cell) -> bool:
    """Whether there is such a candidate for a cell of that dtype on that device."""
    return {GRAPH: cell.on_gpu, "official_float32": cell.on_gpu and cell.itemsize == 2}.get(name, True)


def estimated_bytes(name: str, cell: Cell) -> int:
    """What the candidate takes beside the embeddings at its peak, roughly and rather too much."""
    n, d, candidate = cell.n, cell.d, CANDIDATES[name]
    if name == FLOOR:
        return floor_bytes(cell.formulation, n, d, cell.itemsize)
    wide = max(cell.itemsize, 4)
    if name in (OURS, GRAPH):
        return (8 * n * d + 2 * min(n, d) ** 2) * wide
    if candidate.square_matrices:
        itemsize = wide if candidate.widened else cell.itemsize
        return int((candidate.square_matrices * d * d + 8 * n * d) * itemsize)
    return (12 * n * d + 5 * n * n) * wide


def loss_function(name: str, cell: Cell) -> baselines.Loss:
    if name in (OURS, GRAPH):
        return lambda z_a, z_b: barlow_twins_loss(z_a, z_b, backend=cell.backend, formulation=cell.formulation)
    candidate = CANDIDATES[name]
    loss = candidate.build(cell.d, torch.device(cell.device), cell.torch_dtype)
    # Static shapes: each cell gets the code that is best for it. Compiling is not timed.
    return torch.compile(loss, dynamic=False) if candidate.compiled else loss


def build_step(name: str, cell: Cell, z_a: Tensor, z_b: Tensor) -> Step:  # (N, D), (N, D)
    """Forward and backward of one candidate on these embeddings; returns the loss (the floor: nothing)."""
    if name == FLOOR:
        with torch.no_grad():
            return gemm_floor(z_a.detach(), z_b.detach(), cell.formulation)
    loss_of = loss_function(name, cell)
    scale = torch.tensor(cell.loss_scale, device=z_a.device) if cell.loss_scale != 1 else None
    if name == GRAPH:
        return graph_step(loss_of, z_a, z_b, scale)

    def step() -> Tensor:
        loss = loss_of(z_a, z_b)
        loss.backward(scale)
        return loss.detach()

    return step


def graph_step(loss_of: baselines.Loss, z_a: Tensor, z_b: Tensor, scale: Tensor | None) -> Step:
    """One replay; the gradients are the graph's own tensors, overwritten by the next."""

    def forward_backward() -> tuple[Tensor, ...]:
        loss = loss_of(z_a, z_b)
        # Not loss.backward(): accumulating into the leaves belongs to the stream that the leaves were made on.
        return loss, *torch.autograd.grad(loss, (z_a, z_b), scale)

    replay, (loss, dz_a, dz_b) = capture(forward_backward)
    loss = loss.detach()

    def step() -> Tensor:
        replay()
        z_a.grad, z_b.grad = dz_a, dz_b
        return loss

    return step
