"""A preset is the loss of the project that it is named after: its number and its gradients."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from accuracy import EPSILONS, gradient_errors
from inputs import views
from natural_scale import natural_scales
from peer_formulas import FORMULAS
from target import few

import bt_kernels
from bt_kernels import BarlowTwinsLoss, presets

SHAPES = few([(16, 40), (17, 17), (61, 23), (33, 129)], [(9, 23), (17, 17), (31, 14)])
SEEDS = few([0, 1, 2], [0])
ARGUMENTS = {
    "official": {"lambd": 0.0051},
    "lightly": {"lambda_param": 5e-3, "gather_distributed": False},
    "solo_learn": {"lamb": 5e-3, "scale_loss": 0.025},
    "stable_pretraining": {"lambd": 5e-3},
    "monai": {"lambd": 5e-3},
    "catalyst": {"offdiag_lambda": 1.0, "eps": 1e-12},
}


def evaluate(loss, z_a, z_b):
    z_a, z_b = (z.detach().requires_grad_() for z in (z_a, z_b))
    value = loss(z_a, z_b)
    return value.detach(), torch.autograd.grad(value, (z_a, z_b))


def relative(x, true) -> float:
    return (torch.linalg.vector_norm(x.double() - true) / torch.linalg.vector_norm(true)).item()


@pytest.fixture(params=FORMULAS)
def name(request) -> str:
    return request.param


@pytest.fixture
def preset(name, backend, formulation) -> BarlowTwinsLoss:
    return getattr(presets, name)(backend=backend, formulation=formulation)


@pytest.mark.not_narrow("float64")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_peer_in_float64(name, preset, shape, seed):
    z_a, z_b = views(*shape, torch.float64, seed)
    loss, gradients = evaluate(preset, z_a, z_b)
    true_loss, true_gradients = evaluate(FORMULAS[name], z_a, z_b)
    assert relative(loss, true_loss) < 1e-12
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert relative(gradient, true) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_no_further_from_the_truth_than_the_peer_in_float32(name, preset, shape, seed):
    formula = FORMULAS[name]
    z_a, z_b = views(*shape, torch.float32, seed)
    loss, gradients = evaluate(preset, z_a, z_b)
    true_loss, true_gradients = evaluate(formula, z_a.double(), z_b.double())
    peer_loss, peer_gradients = evaluate(formula, z_a, z_b)
    epsilon = torch.finfo(torch.float32).eps
    scales, tiny = natural_scales(z_a, z_b, formula.like, epsilon), EPSILONS[torch.float32] * epsilon
    error, allowed = ((x.double() - true_loss).abs() for x in (loss, peer_loss))
    assert error <= 2 * allowed + tiny * scales.terms[0]
    for view, true in enumerate(true_gradients):
        scale = scales.gradients[view]
        allowed = gradient_errors(peer_gradients[view], true, scale)
        for face, error in gradient_errors(gradients[view], true, scale).items():
            assert error <= 2 * allowed[face] + tiny, face


@pytest.mark.cpu_only
def test_no_two_peers_are_the_same():
    """They are further apart than the tests above forgive."""
    z_a, z_b = views(16, 40, torch.float64)
    losses = [getattr(presets, name)()(z_a, z_b).item() for name in FORMULAS]
    for i, loss in enumerate(losses):
        for other in losses[:i]:
            assert abs(loss - other) > 1e-9 * loss


@pytest.mark.cpu_only
def test_has_the_peers_arguments(name):
    """Names, order and defaults; all by position. Besides, by name: how it is computed."""
    parameters = inspect.signature(getattr(presets, name)).parameters.values()
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == list(ARGUMENTS[name].items())
    assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == ["formulation", "backend"]
    make = getattr(presets, name)
    assert repr(make(*ARGUMENTS[name].values())) == repr(make(**ARGUMENTS[name])) == repr(make())


@pytest.mark.cpu_only
def test_arguments_reach_the_loss():
    z_a, z_b = views(16, 40, torch.float64)
    for make in (
        presets.official,
        presets.lightly,
        presets.stable_pretraining,
        presets.monai,
        presets.catalyst,
        presets.solo_learn,
    ):
        name = make.__name__
        expected = FORMULAS[name]._replace(lambd=0.3)(z_a, z_b)
        torch.testing.assert_close(make(0.3)(z_a, z_b), expected, rtol=1e-12, atol=0)
    expected = FORMULAS["solo_learn"]._replace(lambd=0.3, scale=2.0)(z_a, z_b)
    for loss in (presets.solo_learn(0.3, 2.0)(z_a, z_b), presets.barlow_loss_func(z_a, z_b, 0.3, 2.0)):
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    wide = presets.catalyst(eps=0.5)(z_a, z_b)
    assert torch.equal(wide, BarlowTwinsLoss(1.0, eps=0.5, unbiased=True)(z_a, z_b))


@pytest.mark.cpu_only
def test_solo_learns_function():
    z_a, z_b = views(16, 40)
    assert torch.equal(presets.barlow_loss_func(z_a, z_b), presets.solo_learn()(z_a, z_b))
    by_name = presets.barlow_loss_func(z1=z_a, z2=z_b, lamb=0.3, scale_loss=2.0)
    assert torch.equal(by_name, presets.solo_learn(0.3, 2.0)(z_a, z_b))


@pytest.mark.cpu_only
@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: presets.lightly(lambd=0.1), TypeError, "lambd"),
        (lambda: presets.lightly(gather_distributed=1), TypeError, "gather_distributed must be True or False"),
        (lambda: presets.lightly(lambda_param="0.1"), TypeError, "lambd must be a real number"),
        (lambda: presets.official(-1.0), ValueError, "lambd must be >= 0"),
        (lambda: presets.monai(0.1, 0.2), TypeError, "positional"),
        (lambda: presets.catalyst(eps=-1.0), ValueError, "eps must be >= 0"),
        (lambda: presets.stable_pretraining(backend="tpu"), ValueError, "backend must be one of"),
        (lambda: presets.solo_learn(scale_loss=float("nan")), ValueError, "scale must be finite"),
        (lambda: presets.monai()(torch.ones(1, 3), torch.ones(1, 3)), ValueError, "N >= 2 samples"),
        (lambda: presets.monai()(torch.ones(2, 3, 4), torch.ones(2, 3, 4)), ValueError, "shape"),
        (lambda: presets.catalyst()(torch.ones(2, 3), torch.ones(2, 4)), ValueError, "the same shape"),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.cpu_only
def test_copies_are_the_same_loss(name):
    z_a, z_b = views(9, 40)
    module = getattr(presets, name)()
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)]
    for other in copies:
        assert other is not module and repr(other) == repr(module)
        assert torch.equal(other(z_a, z_b), module(z_a, z_b))
    assert module.state_dict() == {} and isinstance(module, BarlowTwinsLoss)


@pytest.mark.cpu_only
def test_repr_says_what_it_is():
    assert bt_kernels.presets is presets
    assert repr(presets.lightly(gather_distributed=True)) == (
        "BarlowTwinsLoss(lambd=0.005, process_group='auto', statistics='local')"
    )
    assert repr(presets.monai()) == "BarlowTwinsLoss(lambd=0.005, eps=1e-06, unbiased=True, eps_added_to='std')"


def test_lightly_refuses_to_gather_without_torch_distributed(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a torch that is built with"):
        presets.lightly(gather_distributed=True)
    assert presets.lightly().distributed.process_group is None
