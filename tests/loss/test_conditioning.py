"""Embeddings that are hard: where differences cancel, and where a feature barely varies, or not at all."""

import pytest
import torch

from tests.support.accuracy import Formula, evaluate
from tests.support.hard_embeddings import CASES, whitened
from tests.support.inputs import DTYPES, views, whole_numbers
from tests.support.official import official_loss
from tests.support.target import device, few, few_kinds

MANY_SAMPLES = pytest.mark.long_interpreted("its kernels are those of test_batches_of_16_bits_beyond_one_block")


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_meets_the_standard(terms, yardstick_of, make, dtype):
    z_a, z_b = (z.to(dtype) for z in make())
    result = evaluate(terms, z_a, z_b, Formula())
    assert result.terms[2] >= 0
    yardstick_of(z_a, z_b).check(result)


def one_hot(n: int, d: int, dtype: torch.dtype):
    """Identical views of classes as they come."""
    classes = torch.randint(d, (n,), generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.one_hot(classes, d).to(dtype).to(device())
    return z, z.clone()


def identical_whitened(n: int, d: int, dtype: torch.dtype):
    return (whitened(n, d).to(dtype),) * 2


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("output_gradients", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)], ids=["loss", "off_diagonal"])
@pytest.mark.parametrize("lambd", few([1.0, 313.0], [1.0]))
@pytest.mark.parametrize("make", [one_hot, identical_whitened])
@pytest.mark.parametrize("shape", few([(163, 12), (13, 40)], [(163, 12)]), ids=str)
def test_off_diagonal_beside_a_large_diagonal(
    terms, yardstick_of, formulation, shape, make, lambd, output_gradients, dtype
):
    """In the correlation form the error is that of the textbook, and not that of the sums with the diagonal: a
    product with C_ii that is then taken out again leaves its rounding."""
    z_a, z_b = make(*shape, dtype)
    formula = Formula(lambd=lambd, output_gradients=output_gradients)
    expected = yardstick_of(z_a, z_b, formula)
    result = evaluate(terms, z_a, z_b, formula)
    expected.check(result)
    if formulation == "gram" or dtype == torch.float64:  # whose truth is rounded as they are
        return
    official = evaluate(official_loss, z_a, z_b, formula)
    for ours, theirs, true in zip(result.gradients, official.gradients, expected.truth.gradients, strict=True):
        error, allowed = (torch.linalg.vector_norm(x.double() - true) for x in (ours, theirs))
        assert error <= 2 * allowed + 4 * torch.finfo(dtype).eps * torch.linalg.vector_norm(true)


@pytest.mark.parametrize("scale", [1e-4, 1e-6])
def test_off_diagonal_alone_of_collapsed_views(terms, yardstick_of, scale):
    """With a variance far below eps, K is far below D: a shift of D would leave nothing of it in float32."""
    z_a, z_b = (scale * z for z in views(24, 200))
    formula = Formula(output_gradients=(0.0, 0.0, 1.0))
    yardstick_of(z_a, z_b, formula).check(evaluate(terms, z_a, z_b, formula))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_off_diagonal_is_never_negative(terms, dtype):
    """Whitened features and identical views: the sum of C_ij^2 is all diagonal, and the difference is rounding."""
    for d in few(range(1, 33), (1, 2, 7, 31, 32)):
        z = whitened(33, d, seed=d).to(dtype)
        assert terms(z, z).off_diagonal >= 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)], ids=str)
def test_mean_of_1e4(terms, yardstick_of, shape, dtype):
    """E[x^2] - E[x]^2 has nothing left here in float32."""
    z_a, z_b = ((z + 1e4).to(dtype) for z in views(*shape, torch.float64))
    yardstick_of(z_a, z_b).check(evaluate(terms, z_a, z_b, Formula()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (49, 7)], ids=str)
@pytest.mark.parametrize("bits", [3, 12])
def test_a_mean_costs_nothing_but_the_bits_it_takes(terms, yardstick_of, bits, shape, dtype):
    """Embeddings of a few bits, up to 2^50 deviations from 0, are standardized as without their mean."""
    formula = Formula(eps=0.0)
    z_a, z_b = whole_numbers(*shape, bits, dtype)
    far = 1 / torch.finfo(dtype).eps  # its last bit is 1
    yardstick_of(z_a, z_b, formula).check(evaluate(terms, z_a + far, z_b - 2 * far, formula))


@pytest.mark.long_interpreted("test_large_enough_for_every_loop has as many rows")
@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("shape", few([(500, 40), (300, 600), (600, 40)], [(500, 40)]), ids=str)
def test_a_row_far_from_the_others(terms, yardstick_of, shape, row):
    """What is measured from that row, or summed with it, has lost the others' digits."""
    z_a, z_b = views(*shape, torch.float64)
    for z in (z_a, z_b):
        z[row] += 1e3
    z_a, z_b = z_a.float(), z_b.float()
    yardstick_of(z_a, z_b).check(evaluate(terms, z_a, z_b, Formula()))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)], ids=str)
@pytest.mark.parametrize("exponent", [-70, 60, 110])
def test_magnitude_does_not_matter(terms, yardstick_of, exponent, shape):
    """Squares of these, or of their 1 / std, overflow or vanish in float32. Multiplying by a power of two rounds
    nothing."""
    formula = Formula(eps=0.0)
    expected = yardstick_of(*views(*shape), formula)
    result = evaluate(terms, *(z * 2.0**exponent for z in views(*shape)), formula)
    expected.check_terms(result.terms)
    for view, gradient in enumerate(result.gradients):
        expected.check_gradient(view, gradient * 2.0**exponent)


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.float16)), ids=str)
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)], ids=str)
@pytest.mark.parametrize("value", few([0.0, -3.0, 0.1, 1000.1], [0.1]))
def test_feature_that_does_not_vary(terms, yardstick_of, value, shape, dtype):
    """C_ii is 0 where the feature stands still in one view; loss and gradient are finite. In both, it has none."""
    z_a, z_b = views(*shape, dtype)
    z_a[:, 3] = value
    z_b[:, 5] = value
    z_a[:, 6] = z_b[:, 6] = value
    result = evaluate(terms, z_a, z_b, Formula())
    assert all(x.isfinite().all() for x in result.terms + result.gradients)
    assert all((gradient[:, 6] == 0).all() for gradient in result.gradients)
    yardstick_of(z_a, z_b).check(result)
    still = torch.full((shape[0], 1), value, dtype=dtype, device=z_a.device)
    loss, on_diagonal, off_diagonal = terms(still, z_b[:, :1])
    assert (loss, on_diagonal, off_diagonal) == (1, 1, 0)
    assert all(x == 1 for x in (terms(z_a[:, 3:4], z_b[:, 3:4]).loss, terms(z_a[:, 5:6], z_b[:, 5:6]).loss))


@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.float16)), ids=str)
@pytest.mark.parametrize("n", [*few([3, 7, 49, 100], [3, 49]), pytest.param(1023, marks=MANY_SAMPLES)])
def test_mean_of_equal_numbers(terms, n, dtype):
    """It is rounded, and y is 0 all the same: with eps = 0 there is no loss, rather than that of the rounding."""
    still = torch.tensor([0.1, 1000.1, 1 / 3, -6e4], dtype=torch.float64).to(dtype).to(device()).expand(n, 4)
    result = evaluate(terms, still, still, Formula())
    assert result.terms[0] == 4 and all((gradient == 0).all() for gradient in result.gradients)
    result = evaluate(terms, still[:, :1], views(n, 1, dtype)[0], Formula(eps=0.0))
    assert result.terms[0].isnan() and all(gradient.isnan().any() for gradient in result.gradients)


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_inf_give_nan(terms, bad, view, shape, dtype):
    for place in few(((0, 0), (shape[0] // 2, shape[1] // 2), (-1, -1)), ((-1, -1),)):
        pair = [z.clone() for z in views(*shape, dtype)]
        pair[view][place] = bad
        z_a, z_b = (z.requires_grad_() for z in pair)
        for options in few(({}, {"lambd": 0.0}, {"unbiased": True}), ({"lambd": 0.0},)):
            loss, on_diagonal, off_diagonal = terms(z_a, z_b, **options)
            assert loss.isnan() and on_diagonal.isnan() and off_diagonal.isnan()
            assert all(g.isnan().any() for g in torch.autograd.grad(loss, (z_a, z_b)))
