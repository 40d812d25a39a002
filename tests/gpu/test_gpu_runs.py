"""How the kernels run: the same bits each time, on the stream and device they are asked for, in CUDA graphs,
without ever waiting for the GPU."""

import pytest
import torch

from tests.gpu.native import large_views, same_bits

pytestmark = pytest.mark.backends("cuda", "triton")

CASES = [
    ("gram", (256, 8192), torch.bfloat16),
    ("gram", (1024, 4096), torch.float32),
    ("correlation", (2048, 512), torch.float16),
]
cases = pytest.mark.parametrize("formulation, shape, dtype", CASES, ids=str)


@cases
def test_same_bits_250_times(step, formulation, shape, dtype):
    z_a, z_b = large_views(*shape, dtype)
    first = step(z_a, z_b, formulation=formulation)
    for _ in range(250):
        assert same_bits(step(z_a, z_b, formulation=formulation), first)


@cases
def test_cuda_graph(step, formulation, shape, dtype):
    """Captured once, replayed with other embeddings in the same memory."""
    static = large_views(*shape, dtype)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # compiles, and warms autograd and the allocator up, none of which may be captured
            step(*static, formulation=formulation)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(*static, formulation=formulation)
    for seed in (1, 2):
        new = large_views(*shape, dtype, seed)
        for buffer, z in zip(static, new, strict=True):
            buffer.copy_(z)
        graph.replay()
        assert same_bits(captured, step(*new, formulation=formulation))


def test_a_cuda_graph_takes_the_number_of_each_replay(step):
    """lambd as a tensor on the GPU."""
    z_a, z_b = large_views(256, 1024, torch.bfloat16)
    lambd = torch.full((), 0.25, device=z_a.device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(z_a, z_b, formulation="gram", lambd=lambd)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(z_a, z_b, formulation="gram", lambd=lambd)
    for number in (0.5, 0.125):
        lambd.fill_(number)
        graph.replay()
        assert same_bits(captured, step(z_a, z_b, formulation="gram", lambd=lambd))


@cases
def test_runs_on_the_current_stream_and_does_not_wait(step, formulation, shape, dtype):
    """The embeddings are NaN until a long sleep on a side stream is over: what does not follow it sees NaN."""
    z_a, z_b = large_views(*shape, dtype)
    expected = step(z_a, z_b, formulation=formulation)
    late = torch.full_like(z_a, torch.nan), torch.full_like(z_b, torch.nan)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(z_a, z_b, formulation=formulation)  # what this stream's allocations cost the first time
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(2**30)  # cycles: half a second
        late[0].copy_(z_a), late[1].copy_(z_b)
        actual = step(*late, formulation=formulation)
        assert not side.query()
    side.synchronize()
    assert same_bits(actual, expected)


@cases
def test_never_synchronizes(step, formulation, shape, dtype):
    z_a, z_b = large_views(*shape, dtype)
    step(z_a, z_b, formulation=formulation)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(z_a, z_b, formulation=formulation)
        for place in ("cpu", z_a.device):
            lambd, scale = (torch.ones((), device=place) for _ in range(2))
            step(z_a, z_b, formulation=formulation, lambd=lambd, scale=scale)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@cases
def test_a_device_that_is_not_the_current_one(step, formulation, shape, dtype):
    z_a, z_b = large_views(*shape, dtype)
    here = step(z_a, z_b, formulation=formulation)
    there = step(z_a.to("cuda:1"), z_b.to("cuda:1"), formulation=formulation)
    assert torch.cuda.current_device() == 0
    for x, y in zip(here, there, strict=True):
        assert y.device == torch.device("cuda:1")
        if torch.cuda.get_device_name(0) == torch.cuda.get_device_name(1):
            assert torch.equal(x, y.to(x.device))
