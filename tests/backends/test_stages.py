"""A forward in halves, the first one in shares: the terms and gradients of the whole, for every backend.

What bt_kernels/distributed does between processes is done here in one (tests/support/shares.py).
"""

import pytest
import torch

from bt_kernels.backends.registry import BACKENDS
from bt_kernels.backends.stages import Batch
from bt_kernels.options import LossOptions
from tests.support.accuracy import Formula, Result, evaluate
from tests.support.inputs import DTYPES, views
from tests.support.shares import already_standardized, statistics_of
from tests.support.target import few

# N, D and where the features, or the rows, are cut: shares of one, of a tile and a bit, and all of it in one.
CUTS = few(
    [
        ((2, 1), ()),
        ((7, 3), (1,)),
        ((40, 150), (1, 70)),
        ((150, 40), (3, 20)),
        ((130, 300), (131,)),
        ((96, 96), (33,)),
    ],
    [((2, 1), ()), ((7, 3), (1,)), ((40, 150), (1, 70)), ((130, 66), (1, 65))],
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape, cuts", CUTS, ids=str)
def test_shares_of_global_statistics(in_shares, yardstick, formulation, shape, cuts, dtype):
    """The Gram form's shares have all rows and so find the statistics; the correlation form's are told them."""
    expected = yardstick(*shape, dtype)
    cuts = tuple(cut for cut in cuts if cut < shape[1 if formulation == "gram" else 0])
    statistics = None if formulation == "gram" else statistics_of(expected.z_a, expected.z_b, expected.formula)
    options, batch = LossOptions(), Batch(shape[0])
    expected.check(in_shares(expected.z_a, expected.z_b, cuts, expected.formula, options, statistics, batch))


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
@pytest.mark.parametrize("output_gradients", [(1.0, 0.0, 0.0), (0.3, -1.1, 0.02)], ids=str)
def test_every_option(in_shares, yardstick, formulation, widest, shape, output_gradients):
    formula = Formula(lambd=0.05, scale=0.5, eps=0.1, unbiased=True, output_gradients=output_gradients)
    expected = yardstick(*shape, widest, formula)
    statistics = None if formulation == "gram" else statistics_of(expected.z_a, expected.z_b, formula)
    options = LossOptions(formula.lambd, formula.scale, formula.eps, formula.unbiased)
    batch = Batch(shape[0])
    expected.check(in_shares(expected.z_a, expected.z_b, (5,), formula, options, statistics, batch))


@pytest.mark.parametrize("shape, cuts", CUTS, ids=str)
def test_embeddings_that_came_standardized(in_shares, yardstick, formulation, widest, shape, cuts):
    """Their gradient is dy itself: taken through the standardization in float64 it is the loss's."""
    expected = yardstick(*shape, widest)
    cuts = tuple(cut for cut in cuts if cut < shape[1 if formulation == "gram" else 0])
    statistics = statistics_of(expected.z_a, expected.z_b, expected.formula)
    z = torch.stack([expected.z_a, expected.z_b]).double()
    y = (z - statistics.mean[:, None]) * statistics.rstd[:, None]
    options, batch = LossOptions(), Batch(shape[0], standardized=True)
    result = in_shares(*y.to(widest), cuts, expected.formula, options, already_standardized(expected.z_a), batch)
    dy = torch.stack(result.gradients).double()
    dz = statistics.rstd[:, None] * (dy - dy.mean(1, keepdim=True) - y * (dy * y).mean(1, keepdim=True))
    expected.check(Result(result.terms, tuple(dz.to(widest))))


@pytest.mark.parametrize("given", [False, True])
def test_a_mean_of_1e4(in_shares, terms, yardstick_of, formulation, given):
    """No digits are lost to it beyond those that one process loses: a rounded mean would be forgiven."""
    z_a, z_b = (z + 1e4 for z in views(24, 17))
    expected = yardstick_of(z_a, z_b)
    statistics = statistics_of(z_a, z_b, expected.formula) if given or formulation == "correlation" else None
    result = in_shares(z_a, z_b, (5,), expected.formula, LossOptions(), statistics, Batch(24))
    expected.check(result)
    whole = evaluate(terms, z_a, z_b, expected.formula)
    tiny = 4 * torch.finfo(torch.float32).eps
    for ours, theirs, true in zip(result.gradients, whole.gradients, expected.truth.gradients, strict=True):
        error, allowed = (torch.linalg.vector_norm(x.double() - true) for x in (ours, theirs))
        assert error <= 2 * allowed + tiny * torch.linalg.vector_norm(true)


@pytest.mark.runs_on("cpu")
def test_nothing_random_in_the_order_of_sums(in_shares, formulation):
    z_a, z_b = views(24, 40)
    statistics = None if formulation == "gram" else statistics_of(z_a, z_b, Formula())
    torch.use_deterministic_algorithms(True)
    try:
        in_shares(z_a, z_b, (5,), Formula(), LossOptions(), statistics, Batch(24))
    finally:
        torch.use_deterministic_algorithms(False)


def test_nan_in_one_share(in_shares, formulation):
    z_a, z_b = views(12, 9)
    z_b[3, 7] = float("nan")
    formula = Formula()
    statistics = None if formulation == "gram" else statistics_of(z_a, z_b, formula)
    result = in_shares(z_a, z_b, (4,), formula, LossOptions(), statistics, Batch(12))
    assert result.terms[0].isnan() and result.gradients[0].isnan().any() and result.gradients[1].isnan().any()


def test_sums_are_of_the_share_alone(backend):
    """They add up, so each share's are those of a loss that has these features and no others."""
    stages = BACKENDS[backend]
    z_a, z_b = views(24, 40)
    partial = stages.gram_partial(z_a, z_b, LossOptions(), None, False)
    terms, residuals = stages.gram_total(partial.triangles, partial.sums, 24, z_a.dtype, LossOptions(), False)
    whole, _ = stages.gram_forward(z_a, z_b, LossOptions(formulation="gram"), False)
    assert partial.triangles.shape == (2, 24 * 25 // 2) and partial.sums.shape == (4,)
    assert partial.sums.dtype == torch.float64 and partial.residuals == residuals == ()
    torch.testing.assert_close(torch.stack(terms), torch.stack(whole), rtol=1e-6, atol=0)
