"""The presets beside the losses of the installed packages: the number, both gradients, and the names."""

from inspect import signature

import pytest
import torch
from catalyst.contrib.losses import BarlowTwinsLoss as Catalyst
from lightly.loss import BarlowTwinsLoss as Lightly
from monai.losses import BarlowTwinsLoss as Monai
from stable_pretraining.losses import BarlowTwinsLoss as StablePretraining

from bt_kernels import presets
from tests.support.inputs import views

PAIRS = {
    "lightly": (Lightly, presets.lightly.BarlowTwinsLoss),
    "monai": (Monai, presets.monai.BarlowTwinsLoss),
    "catalyst": (Catalyst, presets.catalyst.BarlowTwinsLoss),
    "stable_pretraining": (StablePretraining, presets.stable_pretraining.BarlowTwinsLoss),
}
SHAPES = [(16, 40), (17, 17), (61, 23)]


def evaluate(loss, z_a, z_b):
    z_a, z_b = (z.detach().requires_grad_() for z in (z_a, z_b))
    value = loss(z_a, z_b)
    return value.detach(), *torch.autograd.grad(value, (z_a, z_b))


def relative(x, true) -> float:
    return (torch.linalg.vector_norm(x.double() - true) / torch.linalg.vector_norm(true)).item()


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lambd", [0.0078125, 1.5], ids=str)  # float32 numbers, to which MONAI rounds it
def test_float64(pair, lambd, shape, seed):
    theirs, ours = (make(lambd) for make in pair)
    z = views(*shape, torch.float64, seed)
    for x, true in zip(evaluate(ours, *z), evaluate(theirs, *z), strict=True):
        assert relative(x, true) < 1e-12


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_with_the_defaults(pair, shape, seed):
    """Against the package in float64, and with lambda as float32: no further than twice what it is itself."""
    theirs, ours = (make() for make in pair)
    z = views(*shape, torch.float32, seed)
    truth = evaluate(theirs, *(x.double() for x in z))
    epsilon = torch.finfo(torch.float32).eps
    for x, peer, true in zip(evaluate(ours, *z), evaluate(theirs, *z), truth, strict=True):
        assert relative(x, true) <= 2 * relative(peer, true) + 4 * epsilon


def test_a_keyword_is_the_packages():
    z = views(16, 40, torch.float64)
    for theirs, ours, arguments in (
        (Lightly, presets.lightly.BarlowTwinsLoss, {"lambda_param": 0.5, "gather_distributed": True}),
        (Monai, presets.monai.BarlowTwinsLoss, {"lambd": 0.5}),
        (StablePretraining, presets.stable_pretraining.BarlowTwinsLoss, {"lambd": 0.5}),
        (Catalyst, presets.catalyst.BarlowTwinsLoss, {"offdiag_lambda": 0.5, "eps": 0.25}),
    ):
        torch.testing.assert_close(ours(**arguments)(*z), theirs(**arguments)(*z), rtol=1e-12, atol=0)


def positional(function) -> dict:
    """Arguments and their defaults, in their order, without those by keyword alone."""
    parameters = signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def test_names_are_the_packages(pair):
    theirs, ours = pair
    assert ours.__name__ == theirs.__name__
    arguments = positional(theirs)
    assert list(positional(ours).items()) == list(arguments.items())
    assert list(positional(ours.forward)) == list(positional(theirs.forward))
    assert {name: getattr(ours(), name) for name in arguments} == arguments
    assert ours().state_dict() == theirs().state_dict() == {}
