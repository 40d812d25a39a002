"""Presets over ranks beside the collectives of the projects they are named after: loss and gradient of each rank.

The default group is that of all the processes, so these tests run on all of them.
"""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from torch import nn

from bt_kernels import barlow_twins_loss
from bt_kernels.presets import official
from tests.support.distributed.on_rank import error_of
from tests.support.distributed.processes import MOST
from tests.support.inputs import views
from tests.support.peer_formulas import FORMULAS
from tests.support.peer_presets import criterion


def averaged_in_autograd(c, rows):  # lightly: C / W, then a sum whose backward is a sum
    return dist_nn.all_reduce(c / MOST)


def summed_in_autograd(c, rows):  # stable-pretraining: the sum over ranks of y^T y / (n W)
    return dist_nn.all_reduce(c * rows / (rows * MOST))


def averaged_in_place(c, rows):  # solo-learn: autograd does not see the sum
    dist.all_reduce(c.detach())
    return c / MOST


EXCHANGES = {
    "lightly": averaged_in_autograd,
    "stable_pretraining": summed_in_autograd,
    "solo": averaged_in_place,
}
GATHERED = {"lightly": {"gather_distributed": True}}


def evaluate(loss, z_a, z_b):
    z_a, z_b = (z.detach().requires_grad_() for z in (z_a, z_b))
    value = loss(z_a, z_b)
    return value.detach(), *torch.autograd.grad(value, (z_a, z_b))


def both_on_rank(group, name, how, z_a, z_b):
    """(ours, the project's) of this rank: loss, dz_a, dz_b."""
    formula = FORMULAS[name]

    def peer(a, b):
        return formula.of_correlation(EXCHANGES[name](formula.correlation(a, b), len(a)))

    preset = criterion(name, **GATHERED.get(name, {}), **how)
    return evaluate(preset, z_a, z_b), evaluate(peer, z_a, z_b)


def split(z_a, z_b, rows):
    return list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))


def check_close(ours, peers):
    for x, true in zip(ours, peers, strict=True):
        torch.testing.assert_close(x, true, rtol=1e-10, atol=1e-12 * true.abs().max().item())


@pytest.mark.parametrize("d", [11, 60])
@pytest.mark.parametrize("name", EXCHANGES)
def test_a_rank_gets_what_the_projects_collectives_give_it(run, backend, formulation, name, d):
    rows = (6,) * MOST
    how = {"backend": backend, "formulation": formulation}
    pieces = split(*views(sum(rows), d, torch.float64), rows)
    for ours, peers in run(MOST, both_on_rank, name, how, per_rank=pieces):
        check_close(ours, peers)


def preset_on_rank(group, name, arguments, z_a, z_b):
    return evaluate(criterion(name, **arguments), z_a, z_b)


@pytest.mark.parametrize("d", [11, 60])
def test_official_is_the_formula_of_the_joined_batch(run, backend, formulation, d):
    """SyncBatchNorm is not there on the CPU. A rank has the gradient of the loss, DDP divides it by W."""
    rows = (6,) * MOST
    z_a, z_b = views(sum(rows), d, torch.float64)
    arguments = {"backend": backend, "formulation": formulation}
    results = run(MOST, preset_on_rank, "official", arguments, per_rank=split(z_a, z_b, rows))
    loss, dz_a, dz_b = evaluate(FORMULAS["official"], z_a, z_b)
    for ours, gradients in zip(results, split(dz_a, dz_b, rows), strict=True):
        check_close(ours, (loss, *gradients))


@pytest.mark.parametrize("name", ["lightly", "monai", "catalyst"])
def test_nothing_is_exchanged_without_being_asked_for(run, name):
    pieces = split(*views(24, 30, torch.float64), (3, 6, 7, 8))
    results = run(MOST, preset_on_rank, name, {}, per_rank=pieces)
    for ours, piece in zip(results, pieces, strict=True):
        check_close(ours, evaluate(FORMULAS[name], *piece))


def differing_on_rank(group, rank_options, z_a, z_b):
    return error_of(lambda: barlow_twins_loss(z_a, z_b, process_group="auto", statistics="local", **rank_options))


def test_ranks_agree_about_where_eps_is_added(run):
    options = [{"eps_added_to": "std"}] + [{}] * (MOST - 1)
    pieces = split(*views(24, 30), (6,) * MOST)
    per_rank = [(o, *piece) for o, piece in zip(options, pieces, strict=True)]
    for kind, message in run(MOST, differing_on_rank, per_rank=per_rank):
        assert kind == "ValueError"
        assert message == "the ranks disagree about eps_added_to: std on rank 0, variance on rank 1"


def test_an_option_that_is_wrong_on_one_rank_is_an_error_on_all(run):
    options = [{}] * (MOST - 1) + [{"eps_added_to": "both"}]
    pieces = split(*views(24, 30), (6,) * MOST)
    per_rank = [(o, *piece) for o, piece in zip(options, pieces, strict=True)]
    for kind, message in run(MOST, differing_on_rank, per_rank=per_rank):
        assert kind == "ValueError" and message.startswith(f"on rank {MOST - 1}: eps_added_to must be one of")


class LossInside(nn.Module):
    """The authors' way: the model returns the loss."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 20, bias=False)).double()
        self.criterion = criterion

    def forward(self, x_a, x_b):
        return self.criterion(self.layers(x_a), self.layers(x_b))


def wrapped_on_rank(group, x_a, x_b):
    model = LossInside(official.BarlowTwinsLoss())
    wrapped = nn.parallel.DistributedDataParallel(model)
    wrapped(x_a, x_b).backward()
    return [p.grad for p in model.parameters()]


def test_ddp_around_a_model_that_returns_the_loss(run):
    x_a, x_b = views(24, 6, torch.float64)
    results = run(MOST, wrapped_on_rank, per_rank=split(x_a, x_b, (6,) * MOST))
    model = LossInside(official.BarlowTwinsLoss())
    model(x_a, x_b).backward()
    for gradients in results:
        check_close([MOST * gradient for gradient in gradients], [p.grad for p in model.parameters()])
