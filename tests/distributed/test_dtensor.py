"""DTensor embeddings, as a tensor-parallel projector gives them: one sentence, and what it advises is right."""

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, cross_correlation, cross_correlation_blocks
from bt_kernels.presets import monai, official
from tests.support.distributed.on_rank import error_of
from tests.support.inputs import views

PLACEMENTS = {"rows": Shard(0), "features": Shard(1), "replicas": Replicate()}
MESSAGE = (
    "z_a must be a plain tensor, got a DTensor: call its full_tensor() or, where the rows are sharded, its "
    "to_local(), with a process_group"
)


def distributed(group, placement, *embeddings) -> list[DTensor]:
    mesh = DeviceMesh.from_group(group, "cpu")
    return [distribute_tensor(z, mesh, [placement]).requires_grad_() for z in embeddings]


def errors(group, placement, z_a, z_b) -> set[tuple[str, str]]:
    """From every entry, and of a DTensor in either place."""
    z_a, z_b = distributed(group, placement, z_a, z_b)
    found = []
    for formulation in ("gram", "correlation"):
        for backend in ("auto", "cpu", "eager"):
            loss = BarlowTwinsLoss(formulation=formulation, backend=backend)
            found.append(error_of(loss, z_a, z_b))
    for entry in (
        barlow_twins_loss,
        official.BarlowTwinsLoss(),
        monai.BarlowTwinsLoss(),
        cross_correlation,
    ):
        found.append(error_of(entry, z_a, z_b))
    found.append(error_of(cross_correlation_blocks, z_a, z_b))
    found.append(error_of(BarlowTwinsLoss(process_group=group), z_a, z_b))
    found.append(error_of(BarlowTwinsLoss(process_group=group, statistics="local"), z_a, z_a.to_local()))
    return {(kind, message.removeprefix("on rank 0: ")) for kind, message in found}


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_refuses(run, placement):
    # All ranks there are, which is the group of official.BarlowTwinsLoss().
    for found in run(4, errors, placement, *views(12, 24)):
        assert found == {("TypeError", MESSAGE)}


def error_beside_a_plain_tensor(group, placement, z_a, z_b) -> tuple[str, str]:
    return error_of(barlow_twins_loss, z_a, *distributed(group, placement, z_b))


def test_refuses_one_beside_a_plain_tensor(run):
    for _, message in run(2, error_beside_a_plain_tensor, Shard(0), *views(10, 24)):
        assert message.startswith("z_b must be a plain tensor, got a DTensor")


def full(group, placement, options, z_a, z_b):
    z_a, z_b = distributed(group, placement, z_a, z_b)
    loss = barlow_twins_loss(z_a.full_tensor(), z_b.full_tensor(), **options)
    loss.backward()
    return loss.item(), z_a.grad.full_tensor()


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("formulation", ["gram", "correlation"])
def test_full_tensor(run, placement, formulation):
    z_a, z_b = views(10, 24, torch.float64)
    options = {"formulation": formulation}
    results = run(2, full, placement, options, z_a, z_b)
    loss = barlow_twins_loss(z_a.requires_grad_(), z_b, **options)
    loss.backward()
    for found, gradient in results:
        assert found == loss.item()
        torch.testing.assert_close(gradient, z_a.grad, rtol=1e-12, atol=1e-15)


def local(group, z_a, z_b):
    z_a, z_b = distributed(group, Shard(0), z_a, z_b)
    loss = barlow_twins_loss(z_a.to_local(), z_b.to_local(), process_group=group, gradient="divided")
    loss.backward()
    return loss.item(), z_a.grad.full_tensor()


def test_local_rows_with_the_process_group(run):
    z_a, z_b = views(10, 24, torch.float64)
    results = run(2, local, z_a, z_b)
    loss = barlow_twins_loss(z_a.requires_grad_(), z_b)
    loss.backward()
    for found, gradient in results:
        assert found == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(gradient, z_a.grad, rtol=1e-10, atol=1e-13)
