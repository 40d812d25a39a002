"""Embeddings so large that an offset, N D, N^2 or D^2 is beyond 2^31."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tests.gpu.native import large_views, needs_memory, relative_l2, same_bits
from tests.support.accuracy import Formula
from tests.support.inputs import views
from tests.support.rounded_operands import rounded_operands_loss

pytestmark = pytest.mark.backends("cuda", "triton")


class Truth(NamedTuple):
    loss: Tensor
    gradients: tuple[Tensor, Tensor]
    loss_error: float  # what the rounding of the operands alone does to the loss, relative
    gradient_error: float  # and to the gradients, relative L2


def truth(z_a: Tensor, z_b: Tensor) -> Truth:
    """In float64 by the Gram form, which needs no D x D matrix.

    Its relative errors from the rounding are the correlation form's too, and hardly change with N and D.
    """
    narrow, narrow_gradients = rounded_operands_loss(z_a, z_b, Formula(), "gram", tf32=False)
    true, true_gradients = rounded_operands_loss(z_a.float(), z_b.float(), Formula(), "gram", tf32=False)
    errors = [relative_l2(x, y) for x, y in zip(narrow_gradients, true_gradients, strict=True)]
    return Truth(true[0], true_gradients, abs(narrow[0] / true[0] - 1).item(), max(errors))


def accumulation(d: int) -> float:
    """What adding up over D in float32 may cost: at worst a rounding for each step of the loop, 32 long."""
    return torch.finfo(torch.float32).eps * d / 32


@pytest.mark.parametrize(
    "formulation, shape, dtype",
    [
        ("gram", (64, 65536), torch.float16),
        ("correlation", (64, 65536), torch.float16),  # D^2 = 2^32
        ("correlation", (64, 65536), torch.bfloat16),
        ("gram", (256, 2**20), torch.bfloat16),
    ],
    ids=str,
)
def test_wide_embeddings_meet_the_truth(step, formulation, shape, dtype):
    needs_memory(48 if shape[1] > 65536 else 8)
    z_a, z_b = large_views(*shape, dtype)
    loss, _, _, *gradients = step(z_a, z_b, formulation=formulation)
    true = truth(z_a, z_b)
    for gradient, expected in zip(gradients, true.gradients, strict=True):
        assert relative_l2(gradient, expected) <= 2 * true.gradient_error + torch.finfo(dtype).eps / 2
    assert abs(loss / true.loss - 1) <= 2 * true.loss_error + accumulation(shape[1])


def test_square_matrices_beyond_2_to_the_31(step):
    """N^2, D^2 and N D are all beyond it: both formulations against each other."""
    needs_memory(60)
    small = truth(*large_views(1024, 1024, torch.float16))
    z_a, z_b = large_views(46400, 46400, torch.float16)
    loss, _, _, *correlation = step(z_a, z_b, formulation="correlation")
    other_loss, _, _, *gram = step(z_a, z_b, formulation="gram")
    for x, y in zip(correlation, gram, strict=True):
        assert relative_l2(x, y) <= 2 * (2 * small.gradient_error + torch.finfo(torch.float16).eps / 2)
    assert abs(loss / other_loss - 1) <= 4 * small.loss_error + accumulation(46400)


@pytest.mark.parametrize("strides", [(2**25, 1), (1, 2**25)], ids=str)
@pytest.mark.parametrize("formulation", ["gram", "correlation"])
def test_strides_beyond_2_to_the_31(step, formulation, strides):
    """A hundred rows or columns 2^25 elements apart: the last one begins beyond 3 * 2^30."""
    needs_memory(16)
    z_a, z_b = views(100, 100, torch.bfloat16)
    room = torch.empty(99 * 2**25 + 200, dtype=torch.bfloat16, device="cuda")
    apart = [torch.as_strided(room, (100, 100), strides, start) for start in (0, 100)]
    for place, z in zip(apart, (z_a, z_b), strict=True):
        place.copy_(z)
    assert same_bits(step(*apart, formulation=formulation), step(z_a, z_b, formulation=formulation))


@pytest.mark.parametrize("n", [200, 600])  # the fused gradient, and by panels
def test_more_than_2_to_the_31_numbers(step, n):
    """A block of 4096 features many times over: K is the block's as many times, and the gradient repeats."""
    needs_memory(48)
    width, formula = 4096, Formula()
    times = 2**31 // (n * width) + 1
    a, b = large_views(n, width, torch.bfloat16)
    _, on_diagonal, off_diagonal, dz_a, dz_b = step(a.repeat(1, times), b.repeat(1, times), formulation="gram")
    for dz in (dz_a, dz_b):
        first = dz[:, :width]
        assert first.isfinite().all()
        assert all(torch.equal(other, first) for other in dz.split(width, 1))

    def standardized(z):
        rstd = (z.double().var(0, correction=0) + formula.eps).rsqrt()
        return (z.double() - z.double().mean(0)) * rstd, rstd

    (y_a, rstd), (y_b, _) = standardized(a), standardized(b)
    c_ii = (y_a * y_b).mean(0)
    distance = 1 - c_ii
    a_few_epsilons = 8 * torch.finfo(torch.float32).eps * distance.abs().sum() / (distance**2).sum()
    assert abs(on_diagonal / (times * (distance**2).sum()) - 1) <= a_few_epsilons
    rounded = [y.to(a.dtype).double() for y in (y_a, y_b)]
    c = rounded[0].T @ rounded[1] / n
    squares = times**2 * (c**2).sum() - times * (torch.diagonal(c) ** 2).sum()
    assert abs(off_diagonal / squares - 1) <= accumulation(times * width)

    d = 2 * (c_ii - 1) - 2 * formula.lambd * c_ii
    dy = (2 * formula.lambd * times / n**2) * (y_b @ (y_b.T @ y_a)) + y_b * d / n
    expected = rstd * (dy - y_a * (dy * y_a).mean(0))
    error = relative_l2(dz_a[:, :width], expected)
    assert error <= 2 * truth(a, b).gradient_error + torch.finfo(a.dtype).eps / 2
