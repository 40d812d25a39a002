"""The gradients against float64, for every backend, formulation, dtype, shape, option and incoming gradient."""

import pytest
import torch

from tests.support.accuracy import FORMULAS, Formula, assert_column_sums_are_rounding, evaluate
from tests.support.inputs import DTYPES, LARGE, SHAPES, views
from tests.support.target import few_kinds

# Gradients that come in for (loss, on_diagonal, off_diagonal); 0 means that the output is not used at all.
OUTPUT_GRADIENTS = {
    "loss": (-2.75, 0.0, 0.0),
    "on_diagonal": (0.0, 1.3, 0.0),
    "off_diagonal": (0.0, 0.0, 0.7),
    "both terms": (0.0, -0.4, 0.2),
    "loss and on_diagonal": (1.5, 3.0, 0.0),
    "loss and off_diagonal": (1.5, 0.0, -0.01),
    "all": (0.3, -1.1, 0.02),
}


@pytest.mark.all_combinations("every variant of the backward's kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_meets_the_standard(terms, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_every_option(terms, yardstick, formula, shape, dtype):
    expected = yardstick(*shape, dtype, formula)
    expected.check(evaluate(terms, expected.z_a, expected.z_b, formula))


@pytest.mark.all_combinations("every variant of the backward's kernels")
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.float16)), ids=str)
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
@pytest.mark.parametrize("output_gradients", OUTPUT_GRADIENTS.values(), ids=OUTPUT_GRADIENTS)
def test_every_incoming_gradient(terms, yardstick, output_gradients, shape, dtype):
    expected = yardstick(*shape, dtype, Formula(lambd=0.05, scale=0.5, output_gradients=output_gradients))
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))


@pytest.mark.parametrize("shape, dtype", LARGE, ids=str)
def test_large_enough_for_every_loop(terms, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))


@pytest.mark.backends("cpu", "eager", why="multiplies 16-bit embeddings as they are")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(31, 65), (65, 31)], ids=str)
def test_16_bit_gradients_are_rounded_once(terms, yardstick, shape, dtype):
    expected = yardstick(*shape, dtype)
    narrow = evaluate(terms, expected.z_a, expected.z_b, expected.formula).gradients
    wide = evaluate(terms, expected.z_a.float(), expected.z_b.float(), expected.formula).gradients
    for gradient, before_rounding in zip(narrow, wide, strict=True):
        assert torch.equal(gradient, before_rounding.to(dtype))


@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.float16)), ids=str)
@pytest.mark.parametrize("n", [2, 3, 40])
def test_one_feature_has_no_off_diagonal_gradient(terms, n, dtype):
    z_a, z_b = views(n, 1, dtype)
    alone = evaluate(terms, z_a, z_b, Formula(lambd=313.0, output_gradients=(0.0, 0.0, 1.0)))
    assert alone.terms[2] == 0 and all((gradient == 0).all() for gradient in alone.gradients)
    weighted, on_diagonal = (evaluate(terms, z_a, z_b, Formula(lambd=lambd)) for lambd in (313.0, 0.0))
    assert all(map(torch.equal, weighted.gradients, on_diagonal.gradients))


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_gradients_do_not_move_the_mean(terms, widest, shape):
    """The loss does not change when a feature is shifted, so each column of the gradient sums to zero."""
    assert_column_sums_are_rounding(evaluate(terms, *views(*shape, widest), Formula()).gradients)


@pytest.mark.parametrize("mean, dtype", [(1e4, torch.float32), (1e6, torch.float64)], ids=str)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_gradients_do_not_move_a_mean_far_away(terms, shape, mean, dtype):
    """They would if y's columns did not sum to zero, as they do not beside a mean that is rounded once."""
    z_a, z_b = (z + mean for z in views(*shape, dtype))
    assert_column_sums_are_rounding(evaluate(terms, z_a, z_b, Formula()).gradients)
