"""A preset is the loss of the project that it is named after: its number and its gradients."""

import copy
import inspect
import io
import pickle
from typing import Optional

import pytest
import torch

from bt_kernels import BarlowTwinsLoss
from bt_kernels.presets import catalyst, lightly, monai, official, solo
from tests.support.accuracy import EPSILONS, gradient_errors
from tests.support.inputs import views
from tests.support.natural_scale import natural_scales
from tests.support.peer_formulas import FORMULAS
from tests.support.peer_presets import CLASSES, criterion, loss_of
from tests.support.target import few

SHAPES = few([(16, 40), (17, 17), (61, 23), (33, 129)], [(9, 23), (17, 17), (31, 14)])
SEEDS = few([0, 1, 2], [0])
ARGUMENTS = {
    "official": {"lambd": 0.0051},
    "lightly": {"lambda_param": 5e-3, "gather_distributed": False},
    "solo": {"lamb": 5e-3, "scale_loss": 0.025},
    "stable_pretraining": {"lambd": 5e-3},
    "monai": {"lambd": 5e-3},
    "catalyst": {"offdiag_lambda": 1.0, "eps": 1e-12},
}
WEIGHT = {name: next(iter(arguments)) for name, arguments in ARGUMENTS.items()}
VIEWS = {
    "official": ["z1", "z2"],
    "lightly": ["z_a", "z_b"],
    "solo": ["z1", "z2"],
    "stable_pretraining": ["z_i", "z_j"],
    "monai": ["input", "target"],
    "catalyst": ["embeddings_left", "embeddings_right"],
}
OTHER = {  # a value that is not the default
    "lambd": 0.3,
    "lambda_param": 0.3,
    "offdiag_lambda": 0.3,
    "eps": 0.25,
    "gather_distributed": True,
    "formulation": "gram",
    "backend": "eager",
}
OF_CLASSES = [(name, option) for name in CLASSES for option in [*ARGUMENTS[name], "formulation", "backend"]]


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
def preset(name, backend, formulation):
    return criterion(name, backend=backend, formulation=formulation)


@pytest.mark.covering(2)
@pytest.mark.backends("cpu", "eager", why="float64")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_peer_in_float64(name, preset, shape, seed):
    z_a, z_b = views(*shape, torch.float64, seed)
    loss, gradients = evaluate(preset, z_a, z_b)
    true_loss, true_gradients = evaluate(FORMULAS[name], z_a, z_b)
    assert relative(loss, true_loss) < 1e-12
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert relative(gradient, true) < 1e-12


@pytest.mark.covering(2)
@pytest.mark.long_interpreted("options of the loss that test_every_option has")
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


@pytest.mark.runs_on("cpu")
def test_no_two_peers_are_the_same():
    """They are further apart than the tests above forgive."""
    z_a, z_b = views(16, 40, torch.float64)
    losses = [criterion(name)(z_a, z_b).item() for name in FORMULAS]
    for i, loss in enumerate(losses):
        for other in losses[:i]:
            assert abs(loss - other) > 1e-9 * loss


@pytest.mark.runs_on("cpu")
def test_has_the_peers_arguments(name):
    """Names, order and defaults; all by position. Besides, by name: how it is computed."""
    parameters = list(inspect.signature(loss_of(name)).parameters.values())
    if name not in CLASSES:
        assert [p.name for p in parameters[:2]] == VIEWS[name]
        parameters = parameters[2:]
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == list(ARGUMENTS[name].items())
    assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == ["formulation", "backend"]


@pytest.mark.runs_on("cpu")
def test_takes_the_views_by_the_peers_names(name):
    z_a, z_b = views(9, 40)
    loss = criterion(name)
    first, second = VIEWS[name]
    expected = loss(z_a, z_b)
    assert torch.equal(loss(**{first: z_a, second: z_b}), expected)
    assert torch.equal(loss(z_a, **{second: z_b}), expected)
    if name in CLASSES:
        assert list(inspect.signature(loss.forward).parameters) == VIEWS[name]


@pytest.mark.runs_on("cpu")
def test_arguments_reach_the_loss(name):
    z_a, z_b = views(16, 40, torch.float64)
    expected = FORMULAS[name]._replace(lambd=0.3)(z_a, z_b)
    by_position = loss_of(name)(0.3) if name in CLASSES else lambda *z: loss_of(name)(*z, 0.3)
    for loss in (by_position, criterion(name, **{WEIGHT[name]: 0.3})):
        torch.testing.assert_close(loss(z_a, z_b), expected, rtol=1e-12, atol=0)


@pytest.mark.runs_on("cpu")
def test_the_weight_may_be_a_tensor(name):
    """As MONAI's users have it, and whoever keeps a schedule in a buffer."""
    z_a, z_b = views(16, 40, torch.float64)
    weight = torch.tensor(0.3, dtype=torch.float64)
    expected = FORMULAS[name]._replace(lambd=0.3)(z_a, z_b)
    torch.testing.assert_close(criterion(name, **{WEIGHT[name]: weight})(z_a, z_b), expected, rtol=1e-12, atol=0)


@pytest.mark.runs_on("cpu")
def test_the_second_argument_reaches_the_loss():
    z_a, z_b = views(16, 40, torch.float64)
    expected = FORMULAS["solo"]._replace(lambd=0.3, scale=2.0)(z_a, z_b)
    torch.testing.assert_close(solo.barlow_loss_func(z_a, z_b, 0.3, 2.0), expected, rtol=1e-12, atol=0)
    wide = catalyst.BarlowTwinsLoss(eps=0.5)(z_a, z_b)
    assert torch.equal(wide, BarlowTwinsLoss(1.0, eps=0.5, unbiased=True)(z_a, z_b))


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name, option", OF_CLASSES)
def test_an_argument_is_an_attribute(name, option):
    """As in the projects, it is read, and written between two calls: a schedule."""
    z_a, z_b = views(9, 40)
    module, made = criterion(name), criterion(name, **{option: OTHER[option]})
    assert getattr(module, option) == {**ARGUMENTS[name], "formulation": "auto", "backend": "auto"}[option]
    setattr(module, option, OTHER[option])
    assert getattr(module, option) == getattr(made, option) == OTHER[option]
    assert repr(made) != repr(criterion(name))
    assert f"{option}={OTHER[option]!r}" in repr(module) and repr(module) == repr(made)
    assert torch.equal(module(z_a, z_b), made(z_a, z_b))


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: lightly.BarlowTwinsLoss(lambd=0.1), TypeError, "lambd"),
        (lambda: lightly.BarlowTwinsLoss(0.1, True, "gram"), TypeError, "positional"),
        (lambda: lightly.BarlowTwinsLoss(gather_distributed=1), TypeError, "gather_distributed must be True or"),
        (lambda: lightly.BarlowTwinsLoss(lambda_param="0.1"), TypeError, "lambda_param must be a real number"),
        (lambda: official.BarlowTwinsLoss(-1.0), ValueError, "lambd must be >= 0"),
        (lambda: monai.BarlowTwinsLoss(0.1, 0.2), TypeError, "positional"),
        (lambda: catalyst.BarlowTwinsLoss(eps=-1.0), ValueError, "eps must be >= 0"),
        (lambda: catalyst.BarlowTwinsLoss(-1.0), ValueError, "offdiag_lambda must be >= 0"),
        (lambda: solo.barlow_loss_func(*views(9, 40), scale_loss=float("nan")), ValueError, "must be finite"),
        (lambda: monai.BarlowTwinsLoss()(torch.ones(1, 3), torch.ones(1, 3)), ValueError, "N >= 2 samples"),
        (lambda: monai.BarlowTwinsLoss()(torch.ones(2, 3, 4), torch.ones(2, 3, 4)), ValueError, "shape"),
        (lambda: monai.BarlowTwinsLoss()(torch.ones(1, 2, 3), torch.ones(1, 1, 2, 3)), ValueError, "shape"),
        (lambda: catalyst.BarlowTwinsLoss()(torch.ones(2, 3), torch.ones(2, 4)), ValueError, "the same shape"),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("option", ["formulation", "backend"])
def test_how_it_is_computed_reaches_the_loss(name, option):
    with pytest.raises(ValueError, match=f"{option} must be one of"):
        criterion(name, **{option: "fast"})(*views(9, 40))


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", CLASSES)
def test_says_whose_rows_it_is_for(name):
    """Which is what saves its users a warning beside other ranks."""
    gathers = name in ("official", "stable_pretraining")
    assert criterion(name).process_group == ("auto" if gathers else None)


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", CLASSES)
def test_what_is_set_is_checked(name):
    module = criterion(name)
    before = repr(module)
    for option, value, error in ((WEIGHT[name], -1.0, ValueError), (WEIGHT[name], "1", TypeError)):
        with pytest.raises(error, match=f"^{option} must be"):
            setattr(module, option, value)
    assert repr(module) == before


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", CLASSES)
def test_is_a_class(name):
    """What its users do with a class: annotate, ask for it, derive from it and keep attributes of their own."""
    loss = loss_of(name)

    class Counted(loss):
        def __init__(self, *arguments, **keywords) -> None:
            super().__init__(*arguments, **keywords)
            self.calls = 0

        def forward(self, *z, **by_name):
            self.calls += 1
            return 2 * super().forward(*z, **by_name)

    z_a, z_b = views(9, 40)
    counted = Counted(0.3)
    assert torch.equal(counted(z_a, z_b), 2 * loss(0.3)(z_a, z_b)) and counted.calls == 1
    assert isinstance(counted, loss) and isinstance(counted, BarlowTwinsLoss)
    assert not any(isinstance(counted, loss_of(other)) for other in CLASSES if other != name)
    assert repr(counted) == repr(loss(0.3)).replace("BarlowTwinsLoss", "Counted")
    assert (loss.__name__, loss | None) == ("BarlowTwinsLoss", Optional[loss])  # noqa: UP045


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", CLASSES)
def test_copies_are_the_same_loss(name):
    z_a, z_b = views(9, 40)
    module = criterion(name)
    for option in ARGUMENTS[name]:
        setattr(module, option, OTHER[option])
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)]
    for other in copies:
        assert other is not module and type(other) is type(module) and repr(other) == repr(module)
        assert torch.equal(other(z_a, z_b), module(z_a, z_b))


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", CLASSES)
def test_has_no_state_as_the_peer_has_none(name):
    module = criterion(name)
    assert not module.state_dict() and not list(module.parameters())
    module.load_state_dict({})


@pytest.mark.runs_on("cpu")
def test_repr_has_the_peers_names():
    assert repr(lightly.BarlowTwinsLoss(gather_distributed=True)) == (
        "BarlowTwinsLoss(lambda_param=0.005, gather_distributed=True, statistics='local')"
    )
    assert repr(monai.BarlowTwinsLoss()) == (
        "BarlowTwinsLoss(lambd=0.005, eps=1e-06, unbiased=True, eps_added_to='std')"
    )
    assert repr(catalyst.BarlowTwinsLoss()) == "BarlowTwinsLoss(offdiag_lambda=1.0, eps=1e-12, unbiased=True)"


@pytest.mark.runs_on("cpu")
def test_lightly_asks_for_torch_distributed_where_it_is_needed(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.distributed, "is_available", lambda: asked.append(True))  # and there is none
    with pytest.raises(ValueError, match="needs a torch that is built with"):
        lightly.BarlowTwinsLoss(gather_distributed=True)
    assert len(asked) == 1
    module = lightly.BarlowTwinsLoss()
    assert module.gather_distributed is False
    with pytest.raises(ValueError, match="needs a torch that is built with"):
        module.gather_distributed = True
    assert module.gather_distributed is False


# What the projects' own tests ask of their losses.


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("features", [1, 4, 10])
def test_monais_loss_of_features_that_do_not_vary(features):
    """Their deviation is 0, y is 0, and each has a 1 where C's diagonal should be."""
    z = torch.ones(2, features)
    assert monai.BarlowTwinsLoss()(input=z, target=z).item() == features


@pytest.mark.runs_on("cpu")
def test_catalysts_loss_of_one_feature_with_itself():
    """An unbiased variance leaves C = (N - 1) / N, and so 1 / N^2; there is nothing off the diagonal."""
    z = views(10, 1, torch.float64)[0]
    loss = catalyst.BarlowTwinsLoss(offdiag_lambda=1, eps=0.0)(embeddings_left=z, embeddings_right=z)
    torch.testing.assert_close(loss, torch.tensor(0.01, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.runs_on("cpu")
def test_lightlys_loss_is_that_of_a_stretched_and_shifted_view():
    """Up to what eps is in the variances: 1e-5 of about 1."""
    z = views(32, 64, torch.float64)[0]
    loss = lightly.BarlowTwinsLoss()
    torch.testing.assert_close(loss(z, 2 * z + 4), loss(z, z), rtol=1e-5, atol=1e-8)


@pytest.mark.runs_on("cpu")
def test_solo_learns_loss_falls_along_its_gradient():
    z1, z2 = (z.requires_grad_() for z in views(32, 128))
    losses = []
    for _ in range(20):
        losses.append(solo.barlow_loss_func(z1, z2, lamb=5e-3, scale_loss=0.025))
        for z, gradient in zip((z1, z2), torch.autograd.grad(losses[-1], (z1, z2)), strict=True):
            z.data -= 0.5 * gradient
    assert losses[-1] < losses[0]
