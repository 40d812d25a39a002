"""The distributed layer over NCCL, as far as one GPU goes: a group of one rank, through every collective."""

import socket

import pytest
import torch
import torch.distributed as dist

from bt_kernels import barlow_twins_loss
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.distributed.exchange import Layout
from bt_kernels.distributed.group import control_group, ranks_of
from bt_kernels.distributed.loss import SpreadBackend
from bt_kernels.function import BarlowTwinsFunction
from bt_kernels.options import LossOptions
from tests.support.accuracy import evaluate
from tests.support.inputs import views

pytestmark = pytest.mark.backends("cuda", "triton")

SHAPES = [(64, 300), (300, 64), (200, 1000)]


@pytest.fixture(scope="module")
def ranks():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield ranks_of("world")
    dist.destroy_process_group()


@pytest.fixture
def over_ranks(ranks, backend, formulation):
    """barlow_twins_loss(z_a, z_b, **options) -> terms, by way of the collectives that one rank can spare."""

    def terms(z_a, z_b, **options):
        stages = SpreadBackend(Layout(ranks, (z_a.shape[0],), z_a.shape[1]), BACKENDS[backend], "whole", False)
        return BarlowTwinsFunction.apply(z_a, z_b, LossOptions(**options), formulation, stages, True)

    return terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_meets_the_standard(over_ranks, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    expected.check(evaluate(over_ranks, expected.z_a, expected.z_b, expected.formula))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_a_cuda_graph(over_ranks, shape):
    z_a, z_b = (z.requires_grad_() for z in views(*shape))

    def step():
        loss, *_ = over_ranks(z_a, z_b)
        return loss, *torch.autograd.grad(loss, (z_a, z_b))

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for z, new in zip((z_a, z_b), views(*shape, seed=1), strict=True):
            z.copy_(new)
    graph.replay()
    for replayed, expected in zip(captured, step(), strict=True):
        assert torch.equal(replayed, expected)


def test_shapes_go_through_the_cpu(ranks):
    """Beside a group that knows NCCL alone there is one that knows gloo, and it is made once."""
    nccl = dist.new_group([0], backend="nccl")
    z_a, z_b = (z.requires_grad_() for z in views(40, 100))
    loss = barlow_twins_loss(z_a, z_b, process_group=nccl)
    assert torch.equal(loss, barlow_twins_loss(z_a, z_b))
    beside = control_group(ranks_of(nccl))
    assert dist.get_backend(beside.group) == "gloo" and control_group(ranks_of(nccl)) == beside
    assert control_group(ranks) == (ranks.group, torch.device("cpu"))
