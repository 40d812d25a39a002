"""A small model over W ranks, under DDP and FSDP2: its gradients are those of one process with the whole batch.

The model has no BatchNorm: on the CPU there is none over ranks.
"""

import pytest
import torch
from torch import nn

from bt_kernels import BarlowTwinsLoss
from bt_kernels.torch_versions import fsdp_runs_on
from tests.support.inputs import views

FEATURES, WIDTH, D = 6, 12, 24
ROWS = [(10, 10), (7, 0, 13), (3, 5, 9, 4)]


def small_model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(FEATURES, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(), nn.Linear(WIDTH, D)
    return nn.Sequential(*layers).double()


def step(model: nn.Module, criterion: nn.Module, x_a, x_b) -> torch.Tensor:
    loss = criterion(model(x_a), model(x_b))
    loss.backward()
    return loss.detach()


def on_rank(group, wrapper: str, how: dict, x_a, x_b):
    """The loss, and the parameters' gradients after the wrapper's averaging."""
    model, criterion = small_model(), BarlowTwinsLoss(process_group=group, **how)
    if wrapper == "ddp":
        wrapped = nn.parallel.DistributedDataParallel(model, process_group=group)
        loss = step(wrapped, criterion, x_a, x_b)
        return loss, [p.grad for p in model.parameters()]
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    mesh = DeviceMesh.from_group(group, "cpu")
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    loss = step(model, criterion, x_a, x_b)
    return loss, [p.grad.full_tensor() for p in model.parameters()]


FSDP2 = pytest.param(
    "fsdp2", marks=pytest.mark.skipif(not fsdp_runs_on("cpu"), reason="this torch has no FSDP2 on the CPU")
)


@pytest.mark.covering(2)
@pytest.mark.parametrize("wrapper", ["ddp", FSDP2])
@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("how", [{}, {"gradient": "divided"}], ids=str)
def test_parameters_get_the_gradient_of_one_process(run, formulation, wrapper, rows, how):
    x_a, x_b = views(sum(rows), FEATURES, torch.float64)
    pieces = list(zip(x_a.split(list(rows)), x_b.split(list(rows)), strict=True))
    results = run(len(rows), on_rank, wrapper, {"formulation": formulation, **how}, per_rank=pieces)

    model = small_model()
    loss = step(model, BarlowTwinsLoss(formulation=formulation), x_a, x_b)
    share = len(rows) if "gradient" in how else 1
    for own_loss, gradients in results:
        torch.testing.assert_close(own_loss, loss, rtol=1e-12, atol=0)
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            torch.testing.assert_close(share * gradient, parameter.grad, rtol=1e-9, atol=1e-13)
