"""Autocast and loss scaling: 16 bits are for embeddings that come so and for their gradient, rounded once."""

import pytest
import torch

from bt_kernels.reference import reference_loss
from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import views
from tests.support.target import device

pytestmark = pytest.mark.long_interpreted("what autocast changes comes before the backends")

SHAPES = [(9, 40), (40, 9)]
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@HALVES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_embeddings_give_the_same_bits(terms, shape, dtype):
    z_a, z_b = views(*shape)
    outside = evaluate(terms, z_a, z_b, Formula())
    with torch.autocast(device().type, dtype):
        inside = evaluate(terms, z_a, z_b, Formula())  # the backward under autocast too
    assert all(map(torch.equal, inside.terms + inside.gradients, outside.terms + outside.gradients))
    assert all(x.dtype == torch.float32 for x in inside.terms + inside.gradients)


@HALVES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_after_a_linear_layer(terms, yardstick_of, shape, dtype):
    n, d = shape
    torch.manual_seed(0)
    linear = torch.nn.Linear(12, d).to(device())
    x_a, x_b = views(n, 12)
    with torch.autocast(device().type, dtype):
        z_a, z_b = linear(x_a), linear(x_b)
        assert z_a.dtype == dtype
        z_a.retain_grad(), z_b.retain_grad()
        result = terms(z_a, z_b)
    result.loss.backward()
    assert result.loss.dtype == torch.float32 and linear.weight.grad.dtype == torch.float32
    expected = yardstick_of(z_a.detach(), z_b.detach())
    expected.check_terms(result)
    expected.check_gradient(0, z_a.grad)
    expected.check_gradient(1, z_b.grad)


@pytest.mark.backends("cpu", "eager", why="the next test: its operands are rounded too")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_scale_is_multiplied_in_before_the_rounding(terms, shape):
    """fp16 and GradScaler's first scale, 65536: the scale itself is not a float16, and the gradient without it
    would be rounded among the subnormal numbers, far coarser than after it."""
    z_a, z_b = views(*shape, torch.float16)
    scale = 0.001  # a loss small enough for its scaled gradient to fit, and its unscaled one not to
    formula = Formula(scale=scale, output_gradients=(65536, 0, 0))
    scaled = evaluate(terms, z_a, z_b, formula)
    true = evaluate(reference_loss, z_a.double(), z_b.double(), formula)
    for gradient, exact in zip(scaled.gradients, true.gradients, strict=True):
        assert gradient.dtype == torch.float16 and gradient.isfinite().all()
        half_ulp = torch.finfo(torch.float16).eps / 2 * exact.abs().clamp(min=2.0**-14)
        # One rounding of a float32 result, whose own error is far below it.
        float32_error = 64 * torch.finfo(torch.float32).eps * exact.abs().max()
        assert ((gradient.double() - exact).abs() <= half_ulp + float32_error).all()
        rounded_first = (exact / 65536).half().double() * 65536
        assert ((rounded_first - exact).abs() > half_ulp + float32_error).any()  # this would be noticed


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_scale_meets_the_standard(terms, yardstick, shape):
    expected = yardstick(*shape, torch.float16, Formula(scale=1e-4, output_gradients=(65536, 0, 0)))
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))
    rounded_first = (expected.truth.gradients[0] / 65536).half() * 65536
    with pytest.raises(AssertionError, match="dz_a, relative L2"):
        expected.check_gradient(0, rounded_first)


def test_grad_scaler_step(terms):
    """A whole step: forward under autocast, scaled backward, and the weights' gradients close to float32's."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(12, 40).to(device())
    x_a, x_b = views(9, 12)
    terms(linear(x_a), linear(x_b), scale=0.01).loss.backward()
    exact = linear.weight.grad.clone()
    linear.zero_grad()
    scaler = torch.amp.GradScaler(device().type, init_scale=65536.0)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.0)
    with torch.autocast(device().type, torch.float16):
        loss = terms(linear(x_a), linear(x_b), scale=0.01).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert linear.weight.grad.isfinite().all()
    # Embeddings, weights and their gradients have been through float16, each within 2^-11 of themselves.
    assert torch.nn.functional.cosine_similarity(linear.weight.grad.flatten(), exact.flatten(), 0) > 0.9999
