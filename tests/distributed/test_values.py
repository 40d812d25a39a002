"""W ranks with rows of their own against one process in float64 that has them all: terms and gradients."""

from functools import partial

import pytest
import torch

from bt_kernels import barlow_twins_terms
from bt_kernels.reference import reference_loss
from tests.support.accuracy import Formula, Result
from tests.support.accuracy import evaluate as one_process
from tests.support.distributed.on_rank import loss_and_gradients
from tests.support.distributed.results import joined, split
from tests.support.inputs import DTYPES, views, whole_numbers

# Rows of each rank, and D: equal and ragged, one row, none at all, fewer features than ranks, D not a multiple of
# W; N below and above D.
CASES = [
    ((12,), 30),
    ((9, 9), 20),
    ((5, 20), 13),
    ((0, 24), 40),
    ((7, 1, 12), 3),
    ((16, 0, 3), 50),
    ((6, 6, 6, 6), 32),
    ((3, 17, 0, 8), 61),
    ((30, 1, 2, 25), 9),
]


def evaluate(run, rows, z_a, z_b, formula: Formula, **how) -> Result:
    options = {**formula.options(), **how}
    results = run(len(rows), loss_and_gradients, options, formula.output_gradients, per_rank=split(z_a, z_b, rows))
    return joined(results, len(rows))


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows, d", CASES, ids=str)
def test_meets_the_standard(run, yardstick, backend, formulation, rows, d, dtype):
    expected = yardstick(sum(rows), d, dtype)
    how = {"backend": backend, "formulation": formulation}
    expected.check(evaluate(run, rows, expected.z_a, expected.z_b, expected.formula, **how))


def test_a_mean_of_1e6(run, backend, formulation):
    """The global statistics lose no digits to it, beyond what one process loses."""
    z_a, z_b = (z + 1e6 for z in views(24, 10))
    formula, how = Formula(), {"backend": backend, "formulation": formulation}
    truth = one_process(reference_loss, z_a.double(), z_b.double(), formula)
    alone = one_process(partial(barlow_twins_terms, **how), z_a, z_b, formula)
    result = evaluate(run, (9, 15), z_a, z_b, formula, **how)
    tiny = 4 * torch.finfo(torch.float32).eps
    for view in range(2):
        true = truth.gradients[view]
        error, allowed = (torch.linalg.vector_norm(x.gradients[view].double() - true) for x in (result, alone))
        assert error <= 2 * allowed + tiny * torch.linalg.vector_norm(true)


def test_a_mean_that_takes_all_but_three_bits(run, yardstick_of, backend, formulation):
    """float64 statistics of float64 embeddings: what rounding left of the mean is found over all ranks, too."""
    z_a, z_b = whole_numbers(49, 7, bits=3)
    formula, far = Formula(eps=0.0), 2.0**52
    how = {"backend": backend, "formulation": formulation}
    yardstick_of(z_a, z_b, formula).check(evaluate(run, (9, 40), z_a + far, z_b - 2 * far, formula, **how))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_feature_that_does_not_vary(run, backend, formulation, dtype):
    z_a, z_b = views(49, 7, dtype)
    z_a[:, 3] = z_b[:, 3] = 1000.1
    how = {"backend": backend, "formulation": formulation}
    result = evaluate(run, (9, 40), z_a, z_b, Formula(), **how)
    assert all((gradient[:, 3] == 0).all() for gradient in result.gradients)


def test_one_feature_has_no_off_diagonal_gradient(run, backend, formulation):
    """Where a share is one feature of several, the Gram form is as good as ever; where D = 1 it is not taken."""
    z_a, z_b = views(12, 1)
    formula = Formula(lambd=313.0, output_gradients=(0.0, 0.0, 1.0))
    result = evaluate(run, (5, 7), z_a, z_b, formula, backend=backend, formulation=formulation)
    assert result.terms[2] == 0 and all((gradient == 0).all() for gradient in result.gradients)


@pytest.mark.parametrize("output_gradients", [(1.0, 0.0, 0.0), (0.3, -1.1, 0.02)], ids=str)
def test_every_option(run, yardstick, backend, formulation, output_gradients):
    formula = Formula(lambd=0.05, scale=0.5, eps=0.1, unbiased=True, output_gradients=output_gradients)
    expected = yardstick(23, 14, torch.float64, formula)
    how = {"backend": backend, "formulation": formulation}
    expected.check(evaluate(run, (9, 4, 10), expected.z_a, expected.z_b, formula, **how))
