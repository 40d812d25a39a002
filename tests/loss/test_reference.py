"""The reference against numbers worked out by hand, the authors' code, and finite differences."""

import pytest
import torch

from bt_kernels.reference import reference_loss
from tests.support.accuracy import Formula, evaluate
from tests.support.exact_loss import exact_loss
from tests.support.inputs import views
from tests.support.official import official_loss

pytestmark = pytest.mark.runs_on("cpu")

# With N = 2 and eps = 0 the standardized values are 1 and -1 (biased) or their 1/sqrt(2) (unbiased).
Z_A = torch.tensor([[0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)  # y_a = [[-1, -1], [1, 1]]
Z_B = torch.tensor([[0.0, 3.0], [2.0, 1.0]], dtype=torch.float64)  # y_b = [[-1, 1], [1, -1]]
# C = [[1, -1], [1, -1]]


def test_by_hand():
    loss, on_diagonal, off_diagonal = reference_loss(Z_A, Z_B, lambd=0.25, scale=3.0, eps=0.0)
    assert on_diagonal == 4  # (1 - 1)^2 + (1 + 1)^2
    assert off_diagonal == 2
    assert loss == 3 * (4 + 0.25 * 2)


def test_unbiased_by_hand():
    loss, on_diagonal, off_diagonal = reference_loss(Z_A, Z_B, lambd=1.0, eps=0.0, unbiased=True)  # C / 2
    torch.testing.assert_close(on_diagonal.item(), 0.5**2 + 1.5**2, rtol=1e-15, atol=0)
    torch.testing.assert_close(off_diagonal.item(), 0.5, rtol=1e-15, atol=0)
    torch.testing.assert_close(loss.item(), 3.0, rtol=1e-15, atol=0)


def test_eps_is_added_to_the_variance():
    loss, *_ = reference_loss(Z_A, Z_A, lambd=0.0, eps=1.0)  # variance 1, so every |y| and C_ii = 1/2
    torch.testing.assert_close(loss.item(), 2 * 0.5**2, rtol=1e-15, atol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shape", [(2, 1), (5, 9), (9, 9), (33, 7)])
def test_agrees_with_the_official_code(shape, unbiased):
    formula = Formula(lambd=0.3, scale=0.7, unbiased=unbiased, output_gradients=(1.0, -0.4, 0.2))
    z_a, z_b = views(*shape, torch.float64)
    ours, theirs = (evaluate(function, z_a, z_b, formula) for function in (reference_loss, official_loss))
    for mine, other in zip(ours.terms + ours.gradients, theirs.terms + theirs.gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_gradcheck(shape):
    inputs = [z.requires_grad_() for z in views(*shape, torch.float64)]
    assert torch.autograd.gradcheck(lambda a, b: reference_loss(a, b, lambd=0.3), inputs)


LAST_BIT = 2.0**-56  # of 0.1
HARD = {
    "does not vary": ([[0.1, 0], [0.1, 1], [0.1, 5]], [[0.1, 0], [0.1, 2], [0.1, 3]]),
    "does not vary in one view": ([[0.1, 0], [0.1, 1], [0.1, 5]], [[2.0, 0], [0.5, 2], [0.1, 3]]),
    "hardly varies": ([[0.1, 0], [0.1, 1], [0.1 + LAST_BIT, 5]], [[0.1, 0], [0.1 + 3 * LAST_BIT, 2], [0.1, 3]]),
    "a mean of 1e6": ([[1e6, 0], [1e6 + 0.7, 1], [1e6 - 1.3, 5]], [[0.3, 1e6], [1.2, 1e6 + 2.3], [0, 1e6 + 3]]),
    "a mean of 1e9": ([[1e9, 0], [1e9 + 0.7, 1], [1e9 - 1.3, 5]], [[0.3, 1e9], [1.2, 1e9 + 2.3], [0, 1e9 + 3]]),
    "identical": ([[0.7, 0.1], [0.2, 3.0], [0.5, 0.4]],) * 2,
}


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("eps", [1e-5, 1e-40])
@pytest.mark.parametrize("z_a, z_b", HARD.values(), ids=HARD)
def test_agrees_with_80_digits(z_a, z_b, eps, unbiased):
    z_a, z_b = (torch.tensor(z, dtype=torch.float64) for z in (z_a, z_b))
    loss, gradients = exact_loss(z_a, z_b, lambd=0.3, eps=eps, unbiased=unbiased)
    result = evaluate(reference_loss, z_a, z_b, Formula(lambd=0.3, eps=eps, unbiased=unbiased))
    torch.testing.assert_close(result.terms[0], loss, rtol=1e-14, atol=0)
    for ours, exact in zip(result.gradients, gradients, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-13, atol=1e-14 * exact.abs().max().item())
