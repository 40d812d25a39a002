"""Finite differences in float64, all three outputs at once; gradcheck also tries outputs that are not used."""

import pytest
import torch

from tests.support.inputs import SMALL_SHAPES, views

pytestmark = pytest.mark.backends("cpu", "eager", why="float64")


@pytest.mark.covering(1)
@pytest.mark.parametrize("shape", [(2, 3), *SMALL_SHAPES], ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
def test_gradcheck(terms, shape, unbiased):
    inputs = [z.requires_grad_() for z in views(*shape, torch.float64)]
    # lambd far from 0, so that no term hides behind another; eps large enough for N = 2 to have a gradient.
    options = {"lambd": 0.3, "scale": 0.7, "eps": 0.1, "unbiased": unbiased}
    assert torch.autograd.gradcheck(lambda z_a, z_b: tuple(terms(z_a, z_b, **options)), inputs)


@pytest.mark.covering(1)
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_gradcheck_of_one_view(terms, shape):
    z_a, z_b = views(*shape, torch.float64)
    assert torch.autograd.gradcheck(lambda z: tuple(terms(z, z_b, lambd=0.3)), z_a.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda z: tuple(terms(z_a, z, lambd=0.3)), z_b.clone().requires_grad_())


def test_gradcheck_of_the_same_tensor_twice(terms):
    z = views(5, 8, torch.float64)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: tuple(terms(z, z, lambd=0.3, eps=0.1)), z)
