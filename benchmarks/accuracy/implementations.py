"""What the errors are measured of: every backend in both formulations, and the same loss as others compute it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.shared import baselines
from benchmarks.shared.cell import Cell
from bt_kernels import barlow_twins_terms
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.options import FORMULATIONS
from bt_kernels.reference import reference_loss

ROUNDED = "rounded"
ALONE = (
    2.0**40
)  # a lambd that leaves of the loss's float32 sum the off-diagonal term alone, and is exact to divide by


class Outcome(NamedTuple):
    loss: Tensor  # ()
    gradients: tuple[Tensor, Tensor]  # (N, D) each, of the loss itself
    terms: tuple[Tensor, Tensor] | None  # on-diagonal and off-diagonal, () each


class Implementation(NamedTuple):
    label: str
    run: Callable[[Tensor, Tensor, float], Outcome]  # embeddings, what the loss is multiplied by for its backward
    truth: Callable[[Tensor, Tensor], Outcome]  # of float64 embeddings


def differentiate(loss: Tensor, views: tuple[Tensor, Tensor], loss_scale: float) -> tuple[Tensor, Tensor]:
    """The gradients, of which the scale is taken out again in float64."""
    gradients = torch.autograd.grad(loss, views, torch.full_like(loss, loss_scale))
    return gradients[0].double() / loss_scale, gradients[1].double() / loss_scale


def leaves(z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
    return z_a.detach().requires_grad_(), z_b.detach().requires_grad_()


def textbook(z_a: Tensor, z_b: Tensor) -> Outcome:
    """bt_kernels.reference, in the embeddings' dtype."""
    views = leaves(z_a, z_b)
    loss, *terms = reference_loss(*views, lambd=baselines.LAMBD, eps=baselines.EPS)
    return Outcome(loss.detach(), differentiate(loss, views, 1.0), (terms[0].detach(), terms[1].detach()))


def of_backend(backend: str, formulation: str, label: str) -> Implementation:
    def run(z_a: Tensor, z_b: Tensor, loss_scale: float) -> Outcome:
        views = leaves(z_a, z_b)
        loss, *terms = barlow_twins_terms(
            *views,
            lambd=baselines.LAMBD,
            eps=baselines.EPS,
            backend=backend,
            formulation=formulation,
        )
        gradients = differentiate(loss, views, loss_scale)
        return Outcome(loss.detach(), gradients, (terms[0].detach(), terms[1].detach()))

    return Implementation(f"{label}, {formulation}", run, textbook)


def rounded(z_a: Tensor, z_b: Tensor, loss_scale: float) -> Outcome:
    """The truth, its loss rounded to float32 and its gradient to the embeddings' dtype: what nobody can avoid."""
    truth = textbook(z_a.double(), z_b.double())
    gradients = [(gradient * loss_scale).to(z_a.dtype).double() / loss_scale for gradient in truth.gradients]
    return Outcome(truth.loss.float(), (gradients[0], gradients[1]), None)


@contextlib.contextmanager
def lambd(value: float) -> Iterator[None]:
    """Within, the baselines take this weight of the off-diagonal term."""
    before, baselines.LAMBD = baselines.LAMBD, value
    try:
        yield
    finally:
        baselines.LAMBD = before


def of_loss(label: str, formula: Callable, has_terms: bool, truth: Callable = textbook) -> Implementation:
    """Of a loss alone. Its terms are what it gives at other weights, if it weights sums and not each C_ij."""

    def run(z_a: Tensor, z_b: Tensor, loss_scale: float) -> Outcome:
        views = leaves(z_a, z_b)
        loss_of = formula(z_a.shape[1], z_a.device, z_a.dtype)
        loss = loss_of(*views)
        gradients = differentiate(loss, views, loss_scale)
        if not has_terms:
            return Outcome(loss.detach(), gradients, None)
        with torch.no_grad(), lambd(0.0):
            on_diagonal = loss_of(z_a, z_b)
        with torch.no_grad(), lambd(ALONE):
            off_diagonal = loss_of(z_a, z_b) / ALONE
        return Outcome(loss.detach(), gradients, (on_diagonal, off_diagonal))

    return Implementation(label, run, truth)


MONAI = of_loss("MONAI", baselines.monai, has_terms=False)
# MONAI's number is another one: its truth is its own formula in float64.
MONAI = MONAI._replace(truth=lambda z_a, z_b: MONAI.run(z_a, z_b, 1.0))


def implementations(cell: Cell) -> dict[str, Implementation]:
    """Those for embeddings of the cell's dtype on its device; a backend that cannot run there is left out."""
    found = {}
    device = torch.device(cell.device)
    for backend, module in BACKENDS.items():
        interpreted = backend == "triton" and not cell.on_gpu
        if interpreted and cell.torch_dtype == torch.bfloat16:
            continue  # Triton's interpreter has no bfloat16 arithmetic of its own
        if module.availability(device, cell.torch_dtype).ok:
            for formulation in sorted(set(FORMULATIONS) - {"auto"}):
                found[f"bt_kernels_{backend}_{formulation}"] = of_backend(
                    backend, formulation, "triton (interpreted)" if interpreted else backend
                )
    found[ROUNDED] = Implementation("the truth, rounded", rounded, textbook)
    if cell.itemsize == 2:
        found["official_float32"] = of_loss("official, float32", baselines.official_float32, True)
    found["official"] = of_loss(
        "official, autocast" if cell.itemsize == 2 else "official", baselines.official, True
    )
    found["gram"] = of_loss("gram, plain torch", baselines.gram, True)
    found["lightly"] = of_loss("lightly", baselines.lightly, True)
    found["solo_learn"] = of_loss("solo-learn", baselines.solo_learn, False)
    found["monai"] = MONAI
    return found
