"""eps_added_to="std": y = (z - mean) / (sqrt(var) + eps), for eps of any size beside the deviation."""

import pytest
import torch

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss
from tests.support.inputs import SMALL_SHAPES, views
from tests.support.peer_formulas import PeerFormula
from tests.support.target import few

EPS = few([1e-12, 1e-5, 0.3, 10.0], [0.3])


def std_eps_loss(eps: float, unbiased: bool) -> PeerFormula:
    def standardize(z):
        return (z - z.mean(0)) / (z.std(0, unbiased=unbiased) + eps)

    return PeerFormula(standardize, 0.3, 0.7)


def options(eps: float, unbiased: bool) -> dict:
    return {"lambd": 0.3, "scale": 0.7, "eps": eps, "unbiased": unbiased, "eps_added_to": "std"}


@pytest.mark.backends("cpu", "eager", why="float64")
@pytest.mark.parametrize("shape", [(5, 9), (9, 9), (23, 11)], ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("eps", EPS)
def test_is_the_formula_in_float64(terms, shape, unbiased, eps):
    z_a, z_b = (z.requires_grad_() for z in views(*shape, torch.float64))
    ours = terms(z_a, z_b, **options(eps, unbiased)).loss
    expected = std_eps_loss(eps, unbiased)(z_a, z_b)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    for dz, true in zip(
        torch.autograd.grad(ours, (z_a, z_b)), torch.autograd.grad(expected, (z_a, z_b)), strict=True
    ):
        torch.testing.assert_close(dz, true, rtol=1e-10, atol=1e-12 * true.abs().max().item())


@pytest.mark.covering(1)
@pytest.mark.backends("cpu", "eager", why="float64")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
def test_gradcheck(terms, shape, unbiased):
    inputs = [z.requires_grad_() for z in views(*shape, torch.float64)]
    assert torch.autograd.gradcheck(lambda a, b: tuple(terms(a, b, **options(0.1, unbiased))), inputs)


def test_without_eps_it_is_the_variance(terms):
    z_a, z_b = views(9, 23)
    std, variance = (terms(z_a, z_b, eps=0.0, eps_added_to=where).loss for where in ("std", "variance"))
    torch.testing.assert_close(std, variance, rtol=1e-5, atol=0)


def test_a_feature_that_does_not_vary(terms):
    """y is 0 there, and its gradient dy / eps less the mean over the batch, as torch.std has it."""
    z_a, z_b = views(9, 23)
    z_a[:, 3] = 1.5
    z_a, z_b = z_a.requires_grad_(), z_b.requires_grad_()
    ours = torch.autograd.grad(terms(z_a, z_b, **options(0.1, True)).loss, (z_a, z_b))
    wide_a, wide_b = (z.detach().double().requires_grad_() for z in (z_a, z_b))
    true = torch.autograd.grad(std_eps_loss(0.1, True)(wide_a, wide_b), (wide_a, wide_b))
    assert true[0][:, 3].abs().max() > 0
    for dz, exact in zip(ours, true, strict=True):
        torch.testing.assert_close(dz.double(), exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bits_are_taken_as_they_are_and_computed_in_float32(terms, dtype):
    """The bits of float32 embeddings of the same values; the gradient is rounded once."""
    narrow = [z.requires_grad_() for z in views(9, 23, dtype)]
    wide = [z.detach().float().requires_grad_() for z in narrow]
    losses = [terms(*z, **options(1e-5, True)).loss for z in (narrow, wide)]
    assert losses[0].dtype == torch.float32 and torch.equal(*losses)
    for dz, exact in zip(
        torch.autograd.grad(losses[0], narrow), torch.autograd.grad(losses[1], wide), strict=True
    ):
        assert torch.equal(dz, exact.to(dtype))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled(terms):
    torch._dynamo.reset()
    z_a, z_b = (z.requires_grad_() for z in views(9, 23))
    compiled = torch.compile(terms, fullgraph=True, backend="aot_eager")
    results = [function(z_a, z_b, **options(1e-5, True)).loss for function in (compiled, terms)]
    assert torch.equal(*results)
    gradients = [torch.autograd.grad(loss, (z_a, z_b)) for loss in results]
    assert all(map(torch.equal, *gradients))
    torch._dynamo.reset()


def test_under_autocast(terms):
    z_a, z_b = views(9, 23)
    outside = terms(z_a, z_b, **options(1e-5, True)).loss
    with torch.autocast(z_a.device.type, torch.bfloat16):
        assert torch.equal(terms(z_a, z_b, **options(1e-5, True)).loss, outside)


@pytest.mark.runs_on("cpu")
def test_refuses_statistics_of_all_ranks():
    z_a, z_b = views(4, 3)
    for group in ("world", "auto"):
        with pytest.raises(ValueError, match='eps_added_to="std" over a process_group needs statistics="local"'):
            BarlowTwinsLoss(eps_added_to="std", process_group=group)
    with pytest.raises(ValueError, match='needs statistics="local"'):
        barlow_twins_loss(z_a, z_b, eps_added_to="std", process_group="auto")
