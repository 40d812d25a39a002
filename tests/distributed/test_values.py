"""W ranks with rows of their own against one process in float64 that has them all: terms and gradients."""

import pytest
import torch
from accuracy import Formula, Result, Yardstick
from inputs import DTYPES, views
from on_rank import loss_and_gradients

# Rows of each rank, and D: equal and ragged, one row, none at all, fewer features than ranks, D not a multiple of W; N
# below and above D.
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


def joined(results, formula: Formula, world: int) -> Result:
    """One process's result from the ranks': terms that are the same bits everywhere, gradients over W."""
    for terms, _ in results:
        assert all(map(torch.equal, terms, results[0][0]))
    gradients = (torch.cat([gradients[view] for _, gradients in results]) for view in range(2))
    # What DDP's averaging divides by, and exact: in 16 bits a gradient may have to be rounded after it.
    return Result(results[0][0], tuple((g.double() / world).to(g.dtype) for g in gradients))


def split(z_a, z_b, rows):
    return list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))


def evaluate(run, rows, z_a, z_b, formula: Formula, **how) -> Result:
    options = {**formula.options(), **how}
    results = run(
        len(rows), loss_and_gradients, options, formula.upstream, per_rank=split(z_a, z_b, rows)
    )
    return joined(results, formula, len(rows))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows, d", CASES, ids=str)
def test_meets_the_standard(run, yardstick, backend, formulation, rows, d, dtype):
    expected = yardstick(sum(rows), d, dtype)
    how = {"backend": backend, "formulation": formulation}
    expected.check(evaluate(run, rows, expected.z_a, expected.z_b, expected.formula, **how))


@pytest.mark.parametrize("upstream", [(1.0, 0.0, 0.0), (0.3, -1.1, 0.02)], ids=str)
def test_every_option(run, yardstick, backend, formulation, upstream):
    formula = Formula(lambd=0.05, scale=0.5, eps=0.1, unbiased=True, upstream=upstream)
    expected = yardstick(23, 14, torch.float64, formula)
    how = {"backend": backend, "formulation": formulation}
    expected.check(evaluate(run, (9, 4, 10), expected.z_a, expected.z_b, formula, **how))
