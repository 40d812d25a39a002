"""The yardstick for narrow products is the loss itself where nothing is rounded, and rounds as it says."""

import pytest
import torch

from bt_kernels.reference import reference_loss
from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import views
from tests.support.rounded_operands import rounded, rounded_operands_loss

pytestmark = pytest.mark.runs_on("cpu")


@pytest.mark.parametrize("formulation", ["gram", "correlation"])
@pytest.mark.parametrize("shape", [(2, 3), (9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
def test_is_the_loss_for_float32_operands(formulation, shape, unbiased):
    formula = Formula(lambd=0.3, scale=0.7, eps=0.1, unbiased=unbiased, output_gradients=(1.0, -0.4, 0.2))
    z_a, z_b = views(*shape)
    terms, gradients = rounded_operands_loss(z_a, z_b, formula, formulation, tf32=False)
    true = evaluate(reference_loss, z_a.double(), z_b.double(), formula)
    for mine, other in zip(terms + gradients, true.terms + true.gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("tf32, dtype", [(True, torch.float32), (False, torch.float16)], ids=str)
def test_rounds_to_10_bits_and_nearest(tf32, dtype):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spacing = 2.0 ** (x.abs().log2().floor() - 10)
    result = rounded(x, dtype, tf32)
    assert torch.equal((result / spacing).round(), result / spacing)
    assert ((result - x).abs() <= spacing / 2 * (1 + 1e-3)).all()
    assert 0.4 < (result > x).double().mean() < 0.6
