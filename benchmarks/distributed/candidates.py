"""What is timed over ranks: names, how each is built, what it should send and what memory it takes."""

import torch
from torch import Tensor

from benchmarks.distributed.model import official_bytes
from benchmarks.distributed.official import official
from benchmarks.shared.candidates import Step
from benchmarks.shared.cell import Cell
from bt_kernels import barlow_twins_loss
from bt_kernels.distributed.cost import choose_distributed_formulation, correlation_bytes, gram_bytes

OURS, OTHER, OFFICIAL = "ours", "ours_other", "official"
LABELS = {
    OURS: "ours",
    OTHER: "ours, the formulation that auto does not take",
    OFFICIAL: "official all-reduce of C",
}


def formulation_of(name: str, cell: Cell, world: int) -> str:
    """What that candidate of ours computes with; the official way's matrix is C."""
    taken = choose_distributed_formulation(
        "auto", (cell.n // world,) * world, cell.d, cell.itemsize, torch.device(cell.device).type
    )
    if name == OURS:
        return taken
    return "correlation" if name == OFFICIAL or taken == "gram" else "gram"


def gradient_scale(name: str, cell: Cell, world: int) -> float:
    """How many times the joined batch's gradient a rank's rows get: see gradient= of barlow_twins_loss."""
    return cell.loss_scale * (1 if name == OFFICIAL else world)


def modelled_bytes(name: str, cell: Cell, world: int) -> float:
    """What the busiest rank should send in forward and backward, without the exchange before them."""
    rows = (cell.n // world,) * world
    if name == OFFICIAL:
        return official_bytes(world, cell.d, cell.itemsize)
    if formulation_of(name, cell, world) == "correlation":
        return correlation_bytes(rows, cell.d, cell.itemsize)
    return max(gram_bytes(rows, cell.d, rank, cell.itemsize) for rank in range(world))


def estimated_bytes(name: str, cell: Cell, world: int) -> float:
    """What a rank takes at its peak, roughly and rather too much; the joined embeddings of the check included."""
    wide = max(4, cell.itemsize)
    side = cell.d if formulation_of(name, cell, world) == "correlation" else cell.n
    square = side * side * (cell.itemsize if name == OFFICIAL else wide)
    return 5 * square + 8 * cell.n * cell.d * wide


def does_not_fit(name: str, cell: Cell, world: int, limit: float) -> str | None:
    """Why the candidate's memory forbids this cell; None if it does not. On a CPU all ranks share the memory."""
    need = estimated_bytes(name, cell, world) * (1 if cell.on_gpu else world)
    if need <= limit:
        return None
    return f"does not fit: needs about {need / 1e9:.3g} GB of the {limit / 1e9:.3g} GB allowed"


def build_step(name: str, cell: Cell, world: int, z_a: Tensor, z_b: Tensor) -> Step:  # (N / W, D), (N / W, D)
    """Forward and backward of one candidate on this rank's rows; returns the loss."""
    scale = torch.tensor(cell.loss_scale, device=z_a.device) if cell.loss_scale != 1 else None
    if name == OFFICIAL:
        loss_of = official(cell.n, cell.d, z_a.device, z_a.dtype)
    else:
        formulation = "auto" if name == OURS else formulation_of(name, cell, world)

        def loss_of(z_a: Tensor, z_b: Tensor) -> Tensor:
            return barlow_twins_loss(
                z_a, z_b, formulation=formulation, backend=cell.backend, process_group="world"
            )

    def step() -> Tensor:
        loss = loss_of(z_a, z_b)
        loss.backward(scale)
        return loss.detach()

    return step
