"""Everything that is timed, in the order of the table: names, how each is built, and what it needs.

A built candidate is a step: a call without arguments that runs forward and backward once and leaves fresh
gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.shared import baselines, correctness
from benchmarks.shared.cell import Cell
from benchmarks.shared.cuda_graph import capture
from benchmarks.shared.floor import floor_bytes, gemm_floor
from bt_kernels import barlow_twins_loss

Step = Callable[[], Tensor | None]
FLOOR = "floor"


class Contender(NamedTuple):
    """The two candidates of bt_kernels with one backend: called, and replayed from a CUDA graph."""

    backend: str | None  # None: the one that the cell asks for
    called: str
    graph: str


AS_ASKED = Contender(None, "bt_kernels", "bt_kernels_graph")
TRITON = Contender("triton", "bt_kernels_triton", "bt_kernels_triton_graph")
CUDA = Contender("cuda", "bt_kernels_cuda", "bt_kernels_cuda_graph")
GPU_BACKENDS = (TRITON, CUDA)  # measured beside each other by benchmarks.gpu, whatever "auto" takes
OURS, GRAPH = AS_ASKED.called, AS_ASKED.graph


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
    widened: bool = False  # has its D x D matrices in float32, whatever the embeddings are
    contender: Contender | None = None  # of bt_kernels: which backend
    definition: correctness.Definition = correctness.AUTHORS  # whose truth it is held to

    @property
    def ours(self) -> bool:
        return self.contender is not None

    @property
    def graph(self) -> bool:
        return self.ours and self.name == self.contender.graph


CANDIDATES = {
    c.name: c
    for c in (
        Candidate(OURS, "bt_kernels", contender=AS_ASKED),
        Candidate(GRAPH, "bt_kernels, graph", contender=AS_ASKED),
        Candidate(TRITON.called, "bt_kernels triton", contender=TRITON),
        Candidate(TRITON.graph, "triton, graph", contender=TRITON),
        Candidate(CUDA.called, "bt_kernels cuda", contender=CUDA),
        Candidate(CUDA.graph, "cuda, graph", contender=CUDA),
        Candidate(
            "official_float32", "official, float32", baselines.official_float32, square_matrices=4.2, widened=True
        ),
        Candidate("official", "official formula", baselines.official, square_matrices=4.2),
        Candidate("official_compiled", "official, compiled", baselines.official, True, square_matrices=5.1),
        Candidate("lightly", "lightly", baselines.lightly, square_matrices=4.2, quick=False),
        Candidate(
            "solo_learn", "solo-learn", baselines.solo_learn, square_matrices=9.4, quick=False, widened=True
        ),
        Candidate(
            "monai",
            "MONAI",
            baselines.monai,
            square_matrices=8.6,
            quick=False,
            widened=True,
            definition=correctness.MONAI,
        ),
        Candidate("gram", "gram, plain torch", baselines.gram),
        Candidate("gram_compiled", "gram, compiled", baselines.gram, True),
        Candidate(FLOOR, "GEMM-only floor"),
    )
}


def applies(name: str, cell: Cell) -> bool:
    """Whether there is such a candidate for a cell of that dtype on that device."""
    if CANDIDATES[name].graph:
        return cell.on_gpu
    return name != "official_float32" or (cell.on_gpu and cell.itemsize == 2)


def estimated_bytes(name: str, cell: Cell) -> int:
    """What the candidate takes beside the embeddings at its peak, roughly and rather too much."""
    n, d, candidate = cell.n, cell.d, CANDIDATES[name]
    if name == FLOOR:
        return floor_bytes(cell.formulation, n, d, cell.itemsize)
    wide = max(cell.itemsize, 4)
    if candidate.ours:
        return ((8 if cell.on_gpu else 4) * n * d + 4 * min(n, d) ** 2) * wide
    if candidate.square_matrices:
        itemsize = wide if candidate.widened else cell.itemsize
        return int((candidate.square_matrices * d * d + 8 * n * d) * itemsize)
    return (12 * n * d + 5 * n * n) * wide


def loss_function(name: str, cell: Cell) -> baselines.Loss:
    candidate = CANDIDATES[name]
    if candidate.ours:
        backend = candidate.contender.backend or cell.backend
        return lambda z_a, z_b: barlow_twins_loss(z_a, z_b, backend=backend, formulation=cell.formulation)
    loss = candidate.build(cell.d, torch.device(cell.device), cell.torch_dtype)
    # Static shapes: each cell gets the code that is best for it. Compiling is not timed.
    return torch.compile(loss, dynamic=False) if candidate.compiled else loss


def build_forward(name: str, cell: Cell, z_a: Tensor, z_b: Tensor) -> Step:  # (N, D), (N, D)
    """The loss of one candidate on these embeddings where no gradient is wanted, as in validation."""
    if name == FLOOR:
        with torch.no_grad():
            return gemm_floor(z_a.detach(), z_b.detach(), cell.formulation, forward_only=True)
    loss_of = loss_function(name, cell)

    def forward() -> Tensor:
        with torch.no_grad():
            return loss_of(z_a, z_b)

    return forward


def build_step(name: str, cell: Cell, z_a: Tensor, z_b: Tensor) -> Step:  # (N, D), (N, D)
    """Forward and backward of one candidate on these embeddings; returns the loss (the floor: nothing)."""
    if name == FLOOR:
        with torch.no_grad():
            return gemm_floor(z_a.detach(), z_b.detach(), cell.formulation)
    loss_of = loss_function(name, cell)
    scale = torch.tensor(cell.loss_scale, device=z_a.device) if cell.loss_scale != 1 else None
    if CANDIDATES[name].graph:
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
