"""A step on two ranks against the same step in one process, in float64."""

from types import SimpleNamespace

import pytest
import torch

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel import replicas
from tests.trainer.parallel.step_on_ranks import RANKS, ROWS, STEPS, Twins, chunked_step, lars, measure, views


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(measure, (folder / "meeting", folder / "answer"), nprocs=RANKS)
    return torch.load(folder / "answer")


def check_same(actual, expected):
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_exact_chunks_of_two_ranks_are_the_batch_at_once(found, parallel):
    network = Twins()
    result = chunked_step(network)
    torch.testing.assert_close(found[f"{parallel} exact"]["loss"], result.loss, rtol=1e-12, atol=0)
    check_same(found[f"{parallel} exact"]["gradients"], [p.grad for p in network.parameters()])


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ordinary_chunks_are_those_of_all_ranks(found, parallel):
    network = Twins()
    criterion = BarlowTwinsLoss()
    halves = zip(
        *(zip(*(rows.tensor_split(2) for rows in view.split(ROWS)), strict=True) for view in views()), strict=True
    )
    loss = sum(criterion(*network(torch.cat(a), torch.cat(b))) for a, b in halves) / 2
    loss.backward()
    torch.testing.assert_close(found[f"{parallel} ordinary"]["loss"], loss.detach(), rtol=1e-12, atol=0)
    check_same(found[f"{parallel} ordinary"]["gradients"], [p.grad for p in network.parameters()])


@pytest.mark.parametrize("name", ["exact", "ordinary"])
def test_gradients_are_exchanged_once_a_step(found, name):
    assert found[f"ddp {name}"]["exchanges"] == 1  # buckets, of which so small a network has one
    assert found[f"fsdp {name}"]["exchanges"] == 4  # units: two layers, the norm and what is around them


def test_lars_takes_the_norms_of_whole_parameters(found):
    assert found["rows of the gate"] == 1  # and none on rank 1
    network = Twins()
    optimizer = lars(network)
    for _ in range(STEPS):
        optimizer.zero_grad()
        chunked_step(network)
        optimizer.step()
    check_same(found["lars"]["weights"], network.parameters())
    check_same(found["lars"]["momenta"], [optimizer.state[p]["mu"] for p in network.parameters()])
    assert found["lars"]["reduced"] == [(2, 3)] * STEPS  # one collective, of two norms of each of three matrices


def test_a_torch_without_fsdp2_on_the_cpu_is_named(monkeypatch):
    monkeypatch.setattr(replicas, "fsdp_runs_on", lambda device_type: False)
    with pytest.raises(TrainerError, match=r"has no FSDP2 on the CPU: use --parallel ddp, or torch 2\.8 or newer"):
        replicas.spread(torch.nn.Linear(2, 2), SimpleNamespace(size=2), "fsdp")
