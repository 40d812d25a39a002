"""Runs that were begun with other code over ranks go on: its formula, its statistics, its gradient.

Restated on one process from what each project's source computes; W ranks have W pieces of the batch.

official    global statistics, C summed over ranks outside autograd: each rank's own part of the gradient, 1/W of
            the joined batch's after DDP's averaging
lightly     statistics of each rank's rows, C averaged over ranks inside autograd: all of the gradient
solo-learn  the same C, averaged outside autograd: 1/W of the gradient
"""

import pytest
import torch
from torch import Tensor

from tests.support.accuracy import gradient_errors, rounding
from tests.support.distributed.on_rank import loss_and_gradients
from tests.support.inputs import views
from tests.support.official import standardize

LAMBD = 0.005
ROWS = [(12, 12), (8, 8, 8, 8), (5, 3, 11)]


def of_c(c: Tensor) -> Tensor:
    diagonal = torch.diagonal(c)
    return (diagonal - 1).pow(2).sum() + LAMBD * (c.pow(2).sum() - diagonal.pow(2).sum())


def c_of(z_a: Tensor, z_b: Tensor, eps: float = 1e-5, unbiased: bool = False) -> Tensor:
    return standardize(z_a, eps, unbiased).T @ standardize(z_b, eps, unbiased) / len(z_a)


def global_loss(z_a: Tensor, z_b: Tensor, rows, **options) -> Tensor:
    return of_c(c_of(z_a, z_b, **options))


def local_loss(z_a: Tensor, z_b: Tensor, rows, **options) -> Tensor:
    pieces = zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True)
    return of_c(sum(c_of(*piece, **options) for piece in pieces) / len(rows))


PEERS = {
    "official": (global_loss, {"gradient": "divided"}),
    "lightly": (local_loss, {"statistics": "local"}),
    "solo-learn": (local_loss, {"statistics": "local", "gradient": "divided"}),
}


def evaluate(loss, z_a, z_b, rows, dtype, **options):
    z_a, z_b = (z.to(dtype).requires_grad_() for z in (z_a, z_b))
    value = loss(z_a, z_b, rows, **options)
    return value.detach(), torch.autograd.grad(value, (z_a, z_b))


def check(run, peer, rows, z_a, z_b, how, **options) -> None:
    """Ours against the peer's formula in float64, no further than twice what the formula in float32 is; 16-bit
    gradients may be rounded once."""
    formula, as_the_peer = PEERS[peer]
    ours = {"lambd": LAMBD, **how, **as_the_peer, **options}
    pieces = list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
    results = run(len(rows), loss_and_gradients, ours, (1.0, 0.0, 0.0), per_rank=pieces)

    times = len(rows) if as_the_peer.get("gradient") != "divided" else 1  # before DDP divides by W
    truth, true_gradients = evaluate(formula, z_a, z_b, rows, torch.float64, **options)
    peers, peer_gradients = evaluate(formula, z_a, z_b, rows, torch.float32, **options)
    tiny = 4 * torch.finfo(torch.float32).eps
    error, allowed = ((x.double() - truth).abs() for x in (results[0][0][0], peers))
    assert error <= 2 * allowed + tiny * truth
    for view in range(2):
        gradient = torch.cat([gradients[view] for _, gradients in results])
        assert gradient.dtype == z_a.dtype
        true = true_gradients[view]
        scale = torch.linalg.vector_norm(true).item()
        bounds = gradient_errors(peer_gradients[view], true, scale)
        forgiven = rounding(true, z_a.dtype, scale) if z_a.dtype.itemsize == 2 else {}
        for name, error in gradient_errors(gradient.double() / times, true, scale).items():
            assert error <= 2 * bounds[name] + tiny + forgiven.get(name, 0), name


@pytest.mark.covering(2)
@pytest.mark.parametrize("d", [10, 60])
@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("peer", PEERS)
def test_a_rank_gets_what_the_peer_gave_it(run, backend, formulation, peer, rows, d):
    check(run, peer, rows, *views(sum(rows), d), {"backend": backend, "formulation": formulation})


@pytest.mark.parametrize("peer", PEERS)
def test_every_option_of_the_standardization(run, formulation, peer):
    check(run, peer, (5, 3, 11), *views(19, 30), {"formulation": formulation}, eps=0.1, unbiased=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("peer", ["lightly", "solo-learn"])
def test_local_statistics_of_16_bits(run, formulation, peer, dtype):
    """Of views that nearly agree: 1 - C_ii would not survive a y of 16 bits."""
    z_a, z_b = views(16, 60)
    z_b = z_a + 0.01 * z_b
    check(run, peer, (8, 8), z_a.to(dtype), z_b.to(dtype), {"formulation": formulation})
