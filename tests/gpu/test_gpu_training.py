"""The loss inside what trains with it: torch.compile with inductor, and autocast with loss scaling."""

import pytest
import torch

from bt_kernels import BarlowTwinsLoss
from tests.gpu.native import large_views, same_bits

pytestmark = [pytest.mark.backends("cuda", "triton"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("formulation", ["gram", "correlation"])
def test_compiled_by_inductor(step, backend, formulation, dtype):
    torch._dynamo.reset()
    z_a, z_b = (z.requires_grad_() for z in large_views(192, 640, dtype))
    loss = torch.compile(BarlowTwinsLoss(backend=backend, formulation=formulation), fullgraph=True)(z_a, z_b)
    compiled = loss.detach(), *torch.autograd.grad(loss, (z_a, z_b))
    plain = step(z_a, z_b, formulation=formulation)
    assert same_bits(compiled, (plain[0], *plain[3:]))


def test_compiled_between_other_layers(backend):
    """What inductor fuses before and after the loss sees the gradients that the uncompiled layers see."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    projector = torch.nn.Sequential(torch.nn.Linear(64, 640), torch.nn.ReLU(), torch.nn.Linear(640, 640)).cuda()
    loss = BarlowTwinsLoss(backend=backend)
    x_a, x_b = large_views(192, 64, torch.float32)

    def forward():
        return loss(projector(x_a), projector(x_b))

    def weight_gradients(run):
        projector.zero_grad()
        run().backward()
        return torch.cat([p.grad.flatten() for p in projector.parameters()])

    compiled = weight_gradients(torch.compile(forward, fullgraph=True))
    largest = compiled.abs().max().item()
    torch.testing.assert_close(compiled, weight_gradients(forward), rtol=0, atol=1e-5 * largest)


def test_autocast_and_grad_scaler(step, backend):
    """float16 embeddings, gradients that arrive times 65536, and an optimizer that steps on them."""
    torch.manual_seed(0)
    projector = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 1024)).cuda()
    loss_function = BarlowTwinsLoss(backend=backend, scale=0.01)
    optimizer = torch.optim.SGD(projector.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda", init_scale=65536.0)
    x_a, x_b = large_views(256, 64, torch.float32)

    loss_function(projector(x_a), projector(x_b)).backward()
    exact = torch.cat([p.grad.flatten() for p in projector.parameters()])
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16):
            z_a, z_b = projector(x_a), projector(x_b)
            assert z_a.dtype == torch.float16
            losses.append(loss_function(z_a, z_b))
        scaler.scale(losses[-1]).backward()
        scaler.unscale_(optimizer)
        if len(losses) == 1:
            first = torch.cat([p.grad.flatten() for p in projector.parameters()])
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 65536.0  # no step was left out for Inf or NaN
    assert losses[-1] < losses[0]
    # Embeddings, weights and their gradients have been through float16, each within 2^-11 of themselves.
    assert torch.nn.functional.cosine_similarity(first, exact, 0) > 0.9999
