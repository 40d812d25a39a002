"""The loss and its terms against float64, for every backend, formulation, dtype, shape and option."""

import pytest
import torch

from tests.support.accuracy import FORMULAS
from tests.support.inputs import DTYPES, LARGE, SHAPES, views


@pytest.mark.runs_on("cpu", "cuda", why="test_loss_gradients.py checks the same terms")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_meets_the_standard(terms, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    expected.check_terms(terms(expected.z_a, expected.z_b))


@pytest.mark.runs_on("cpu", "cuda", why="test_loss_gradients.py checks the same terms")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_every_option(terms, yardstick, formula, shape, dtype):
    expected = yardstick(*shape, dtype, formula)
    expected.check_terms(terms(expected.z_a, expected.z_b, **formula.options()))


@pytest.mark.long_interpreted("test_loss_gradients.py checks the same terms")
@pytest.mark.parametrize("shape, dtype", LARGE, ids=str)
def test_large_enough_for_every_loop(terms, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    expected.check_terms(terms(expected.z_a, expected.z_b))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_outputs_are_scalars_in_the_accumulation_dtype(terms, dtype):
    for needs_gradient in (False, True):
        z_a, z_b = (z.requires_grad_(needs_gradient) for z in views(5, 7, dtype))
        for term in terms(z_a, z_b):
            assert term.shape == ()
            assert term.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert term.device == z_a.device
            assert term.requires_grad == needs_gradient


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_loss_is_made_of_the_terms(terms, widest, shape):
    loss, on_diagonal, off_diagonal = terms(*views(*shape, widest), lambd=0.3, scale=1.7)
    made = 1.7 * (on_diagonal + 0.3 * off_diagonal)
    torch.testing.assert_close(loss, made, rtol=4 * torch.finfo(widest).eps, atol=0)


@pytest.mark.backends("cpu", "eager", why="multiplies 16-bit embeddings as they are")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(31, 65), (65, 31)], ids=str)
def test_16_bit_embeddings_are_computed_in_float32(terms, shape, dtype):
    z_a, z_b = views(*shape, dtype)
    for narrow, wide in zip(terms(z_a, z_b), terms(z_a.float(), z_b.float()), strict=True):
        assert torch.equal(narrow, wide)
