"""Runs that were begun with other code over ranks go on: its formula, its statistics, its gradient.

Restated on one process from what each project's source computes; W ranks have W pieces of the batch.

official    global statistics, C summed over ranks outside autograd: each rank's own part of the gradient, 1/W of the
            joined batch's after DDP's averaging
lightly     statistics of each rank's rows, C averaged over ranks inside autograd: all of the gradient
solo-learn  the same C, averaged outside autograd: 1/W of the gradient
"""

import pytest
import torch
import torch.nn.functional as F
from accuracy import gradient_errors
from inputs import views
from on_rank import loss_and_gradients
from torch import Tensor

LAMBD = 0.005
ROWS = [(12, 12), (8, 8, 8, 8), (5, 3, 11)]


def of_c(c: Tensor) -> Tensor:
    diagonal = torch.diagonal(c)
    return (diagonal - 1).pow(2).sum() + LAMBD * (c.pow(2).sum() - diagonal.pow(2).sum())


def standardized(z: Tensor) -> Tensor:
    return F.batch_norm(z, None, None, training=True, eps=1e-5)


def global_loss(z_a: Tensor, z_b: Tensor, rows) -> Tensor:
    return of_c(standardized(z_a).T @ standardized(z_b) / len(z_a))


def local_loss(z_a: Tensor, z_b: Tensor, rows) -> Tensor:
    pieces = zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True)
    return of_c(sum(standardized(a).T @ standardized(b) / len(a) for a, b in pieces) / len(rows))


PEERS = {
    "official": (global_loss, {"gradient": "divided"}),
    "lightly": (local_loss, {"statistics": "local"}),
    "solo-learn": (local_loss, {"statistics": "local", "gradient": "divided"}),
}


def evaluate(loss, z_a, z_b, rows, dtype):
    z_a, z_b = (z.to(dtype).requires_grad_() for z in (z_a, z_b))
    value = loss(z_a, z_b, rows)
    return value.detach(), torch.autograd.grad(value, (z_a, z_b))


@pytest.mark.parametrize("d", [10, 60])
@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("peer", PEERS)
def test_a_rank_gets_what_the_peer_gave_it(run, backend, formulation, peer, rows, d):
    formula, how = PEERS[peer]
    z_a, z_b = views(sum(rows), d)
    options = {"lambd": LAMBD, "backend": backend, "formulation": formulation, **how}
    pieces = list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
    results = run(len(rows), loss_and_gradients, options, (1.0, 0.0, 0.0), per_rank=pieces)

    times = len(rows) if how.get("gradient") != "divided" else 1  # before DDP divides by W
    truth, true_gradients = evaluate(formula, z_a, z_b, rows, torch.float64)
    peers, peer_gradients = evaluate(formula, z_a, z_b, rows, torch.float32)
    tiny = 4 * torch.finfo(torch.float32).eps
    error, allowed = ((x.double() - truth).abs() for x in (results[0][0][0], peers))
    assert error <= 2 * allowed + tiny * truth
    for view in range(2):
        ours = torch.cat([gradients[view] for _, gradients in results]).double() / times
        true = true_gradients[view]
        scale = torch.linalg.vector_norm(true).item()
        bounds = gradient_errors(peer_gradients[view], true, scale)
        for name, error in gradient_errors(ours, true, scale).items():
            assert error <= 2 * bounds[name] + tiny, name
