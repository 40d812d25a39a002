"""Devices without float64, as Apple's MPS: the eager backend meets the standard there, and nothing makes a float64
tensor on them."""

from functools import partial

import pytest
import torch

from bt_kernels import barlow_twins_loss, barlow_twins_terms, cross_correlation, embeddings
from bt_kernels.backends import precise_sums
from bt_kernels.backends.eager import availability
from bt_kernels.backends.registry import choose_backend
from bt_kernels.reference import reference_loss
from tests.support.accuracy import Formula, Yardstick, evaluate
from tests.support.float32_device import NAME, Device, OnDevice
from tests.support.inputs import SHAPES, views

pytestmark = pytest.mark.runs_on("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DEVICE = torch.device(NAME)


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr(embeddings, "TRANSPARENT", (*embeddings.TRANSPARENT, f"{OnDevice.__module__}.OnDevice"))
    monkeypatch.setitem(precise_sums.KNOWN, NAME, False)


def to_device(z):
    return OnDevice(z.detach().clone())


def on_device(formulation: str, z_a, z_b, **options):
    """The three terms, on the CPU again; the gradient goes back through the device."""
    with Device():
        terms = barlow_twins_terms(*(ToDevice.apply(z) for z in (z_a, z_b)), formulation=formulation, **options)
        return [ToCpu.apply(term) for term in terms]


class ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return to_device(z)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.inner


class ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.inner.clone()

    @staticmethod
    def backward(ctx, gradient):
        return to_device(gradient)


def meets_the_standard(formulation, z_a, z_b, formula) -> None:
    Yardstick(None, z_a, z_b, formula).check(evaluate_on_device(formulation, z_a, z_b, formula))


def evaluate_on_device(formulation, z_a, z_b, formula):
    with Device():
        return evaluate(partial(on_device, formulation), z_a, z_b, formula)


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (2100, 300), (8, 7)], ids=str)
def test_meets_the_standard(formulation, shape, dtype):
    meets_the_standard(formulation, *views(*shape, dtype), Formula())


def test_many_features():
    """K's diagonal is far above the rest. The truth is the Gram form in float64: C would not fit."""
    z_a, z_b = views(16, 60000)
    native = partial(barlow_twins_terms, backend="eager", formulation="gram")
    truth = evaluate(native, z_a.double(), z_b.double(), Formula())
    beside_float64 = evaluate(native, z_a, z_b, Formula())
    found = evaluate_on_device("gram", z_a, z_b, Formula())
    for view in range(2):
        true = truth.gradients[view]
        error, allowed = ((r.gradients[view] - true).norm() / true.norm() for r in (found, beside_float64))
        assert error <= 2 * allowed + 4 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    "formula",
    [
        Formula(lambd=0.3, scale=0.1, eps=1e-3, unbiased=True, output_gradients=(1.5, 0.5, 0.25)),
        Formula(eps=0.0, output_gradients=(0.0, 0.0, 1.0)),
        Formula(lambd=0.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_options(formulation, formula, shape):
    meets_the_standard(formulation, *views(*shape), formula)


def with_a_constant_feature(z):
    z = z.clone()
    z[:, 1] = 1000.1
    return z


HARD = {
    "means far from zero": lambda z: z + 3000,
    "a constant feature": with_a_constant_feature,
    "a loud feature": lambda z: z * torch.tensor([1e6] + [1.0] * (z.shape[1] - 1)),
    "a sample of its own": lambda z: torch.cat([z[:1] * 1000, z[1:]]),
    "nothing but constants": lambda z: torch.full_like(z, 0.3),
    "one-hot": lambda z: torch.eye(*z.shape),
}


@pytest.mark.parametrize("change", HARD.values(), ids=HARD)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_hard_embeddings(formulation, change, shape):
    meets_the_standard(formulation, *map(change, views(*shape)), Formula())


@pytest.mark.parametrize("size", [1e25, 3e-26], ids=str)
def test_squares_that_float32_cannot_hold(formulation, size):
    """With eps = 0 the size of the embeddings does not matter."""
    z_a, z_b = views(9, 40)
    terms = on_device(formulation, z_a * size, z_b * size, eps=0.0)
    for term, expected in zip(terms, reference_loss(z_a.double(), z_b.double(), eps=0.0), strict=True):
        torch.testing.assert_close(term.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_not_finite(formulation, bad):
    z_a, z_b = views(9, 40)
    z_b[3, 2] = bad
    assert on_device(formulation, z_a, z_b)[0].isnan()


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
def test_eps_added_to_the_deviation(formulation, shape, unbiased):
    embeddings = views(*shape)
    options = {"eps_added_to": "std", "unbiased": unbiased, "eps": 1e-3}

    def with_gradients(function, *embeddings):
        leaves = [z.detach().requires_grad_() for z in embeddings]
        loss = function(*leaves)
        return loss, *torch.autograd.grad(loss, leaves)

    with Device():
        found = with_gradients(lambda *z: on_device(formulation, *z, **options)[0], *embeddings)
    expected = with_gradients(
        lambda *z: barlow_twins_loss(*z, backend="eager", formulation=formulation, **options), *embeddings
    )
    for actual, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_cross_correlation(shape):
    z_a, z_b = views(*shape)
    with Device():
        c = cross_correlation(to_device(z_a), to_device(z_b))
    torch.testing.assert_close(c.inner, cross_correlation(z_a, z_b), rtol=0, atol=1e-6)


def test_availability_tells_the_truth(monkeypatch):
    assert availability(DEVICE, torch.float32).ok
    ok, reason, _ = availability(DEVICE, torch.float64)
    assert not ok and reason == "there is no float64 on meta"
    for requested in ("auto", "eager"):
        with pytest.raises(RuntimeError, match="cannot run on device meta: there is no float64 on meta"):
            choose_backend(requested, DEVICE, torch.float64)
    monkeypatch.setitem(precise_sums.KNOWN, NAME, True)
    assert availability(DEVICE, torch.float64).ok
    assert not availability(torch.device("mps"), torch.float64).ok
    assert availability(torch.device("mps"), torch.float32).ok


def test_a_device_that_is_not_known_is_tried(monkeypatch):
    monkeypatch.delitem(precise_sums.KNOWN, NAME)
    monkeypatch.delitem(precise_sums.KNOWN, "cpu")
    precise_sums.try_float64.cache_clear()
    assert precise_sums.has_float64(torch.device("cpu"))
    with Device():
        assert not precise_sums.has_float64(DEVICE)
    precise_sums.try_float64.cache_clear()


def test_what_is_there_is_refused_by_the_device_itself():
    """The device of these tests would see a float64 tensor."""
    with Device(), pytest.raises(TypeError, match="does not support it"):
        to_device(torch.zeros(2)).double()
    with Device(), pytest.raises(RuntimeError, match="on the same device"):
        to_device(torch.zeros(2)) + torch.zeros(2)
