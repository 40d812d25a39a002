"""Peak GPU memory of forward and backward, gradients included: never much more than the embeddings."""

import pytest
import torch

from bt_kernels import barlow_twins_loss
from tests.gpu.native import large_views, needs_memory

pytestmark = pytest.mark.backends("cuda", "triton")

SHAPES = [(256, 8192), (1024, 8192), (2048, 8192), (4096, 8192), (8192, 4096), (256, 262144)]
CONSTANT = 8 * 2**20  # statistics, partial tiles of small embeddings: nothing that grows with N D


def peak_beyond(run) -> int:
    """Bytes that were allocated at once beyond what was before."""
    run()  # what is allocated once and kept
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_peak_is_bounded_by_the_embeddings(backend, shape, dtype):
    needs_memory(8)
    z_a, z_b = (z.requires_grad_() for z in large_views(*shape, dtype))
    embeddings = z_a.nbytes + z_b.nbytes
    step = peak_beyond(lambda: torch.autograd.grad(barlow_twins_loss(z_a, z_b, backend=backend), (z_a, z_b)))
    assert step <= 3 * embeddings + CONSTANT, f"{step / embeddings:.2f} times the embeddings"
    with torch.no_grad():
        forward = peak_beyond(lambda: barlow_twins_loss(z_a, z_b, backend=backend))
    assert forward <= 2 * embeddings + CONSTANT, f"{forward / embeddings:.2f} times the embeddings"


def test_the_probe_sees_what_is_allocated():
    assert 2**20 <= peak_beyond(lambda: torch.zeros(2**18, device="cuda") + 1) <= 3 * 2**20
