"""BarlowTwinsLoss: the function as a module that can be copied, saved and printed."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import nn

from bt_kernels import BarlowTwinsLoss, LossTerms, barlow_twins_loss, barlow_twins_terms
from bt_kernels.presets import catalyst, lightly
from tests.support.inputs import views

pytestmark = pytest.mark.runs_on("cpu", "cuda")

OPTIONS = {
    "lambd": 0.02,
    "scale": 0.5,
    "eps": 1e-3,
    "unbiased": True,
    "formulation": "gram",
    "backend": "eager",
    "eps_added_to": "std",
}


def test_is_the_function():
    z_a, z_b = views(9, 40)
    assert torch.equal(BarlowTwinsLoss(**OPTIONS)(z_a, z_b), barlow_twins_loss(z_a, z_b, **OPTIONS))
    assert torch.equal(BarlowTwinsLoss()(z_a, z_b), barlow_twins_loss(z_a, z_b))
    assert torch.equal(BarlowTwinsLoss(0.3)(z_a, z_b), barlow_twins_loss(z_a, z_b, lambd=0.3))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_can_be_set_between_two_calls(name):
    """A schedule for lambd, say. An attribute that nothing reads would be a schedule of nothing."""
    module = BarlowTwinsLoss()
    setattr(module, name, OPTIONS[name])
    assert getattr(module, name) == OPTIONS[name]
    assert module._options == BarlowTwinsLoss(**{name: OPTIONS[name]})._options
    assert repr(module) == repr(BarlowTwinsLoss(**{name: OPTIONS[name]}))


@pytest.mark.parametrize("name", ["process_group", "gradient", "statistics"])
def test_how_it_is_spread_can_be_set(name):
    values = {"process_group": "world", "gradient": "divided", "statistics": "local"}
    module = BarlowTwinsLoss()
    setattr(module, name, values[name])
    assert getattr(module, name) == values[name]
    assert module._distributed == BarlowTwinsLoss(**{name: values[name]})._distributed


def test_what_is_set_is_checked_and_leaves_the_module_as_it_was():
    module = BarlowTwinsLoss(process_group="world")
    for name, value, error in (
        ("lambd", -1.0, ValueError),
        ("scale", "1", TypeError),
        ("gradient", "half", ValueError),
        ("eps_added_to", "std", ValueError),  # over a process_group
    ):
        with pytest.raises(error, match=name):
            setattr(module, name, value)
    assert repr(module) == repr(BarlowTwinsLoss(process_group="world"))


@pytest.mark.parametrize(
    "make, name, meant",
    [
        (BarlowTwinsLoss, "lamda", "lambd"),
        (BarlowTwinsLoss, "lambda_param", "lambd"),  # lightly's
        (BarlowTwinsLoss, "back_end", "backend"),
        (BarlowTwinsLoss, "weight", None),
        (BarlowTwinsLoss, "options", None),
        (lightly.BarlowTwinsLoss, "lambda_params", "lambda_param"),
        (catalyst.BarlowTwinsLoss, "offdiag_lambd", "offdiag_lambda"),
    ],
)
@pytest.mark.parametrize(
    "how", [lambda module: module, lambda module: torch.compile(module)], ids=["", "compiled"]
)
def test_a_name_that_is_no_option_cannot_be_set(make, name, meant, how):
    """It would be a schedule of nothing."""
    module = make()
    with pytest.raises(AttributeError) as caught:
        setattr(how(module), name, 0.1)
    said = f": did you mean {meant!r}?" if meant else "."
    first = next(iter(inspect.signature(make).parameters))
    assert str(caught.value).startswith(f"BarlowTwinsLoss has no option {name!r}{said} Its options are {first}, ")
    assert not hasattr(module, name) and repr(module) == repr(make())


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_what_libraries_set_on_a_module_can_be_set():
    z_a, z_b = views(9, 40)
    module = BarlowTwinsLoss(**OPTIONS)
    expected, calls = module(z_a, z_b), []
    module.training = False
    module.train().requires_grad_(False).to(torch.float64).share_memory()
    module.register_forward_hook(lambda *_: calls.append("hook"))
    module.register_buffer("steps", torch.zeros(()))
    module.steps = torch.ones(())
    module.register_module("child", nn.Identity())
    module.child = nn.Flatten()
    forward = module.forward
    module.forward = lambda *z: calls.append("patched") or forward(*z)  # as accelerate does
    module._hf_hook = module.ds_id = None
    module.accumulate_flops, module.original_extra_repr = forward, module.extra_repr  # as ptflops does
    torch.ao.quantization.propagate_qconfig_(nn.Sequential(module))
    assert torch.equal(module(z_a, z_b), expected) and calls == ["patched", "hook"]
    assert {"_hf_hook", "ds_id", "qconfig", "forward"} <= vars(module).keys() and module.steps == 1
    compiled = torch.compile(module, backend="eager")
    compiled.lambd = 0.3
    assert module.lambd == 0.3 and torch.isclose(compiled(z_a, z_b), module(z_a, z_b))


def test_an_option_cannot_be_deleted():
    module = BarlowTwinsLoss()
    with pytest.raises(
        AttributeError, match="^lambd is an option of BarlowTwinsLoss: it can be set, not deleted$"
    ):
        del module.lambd


class Scheduled(lightly.BarlowTwinsLoss):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.head = nn.Linear(4, 4)


def test_a_subclass_has_attributes_of_its_own():
    module = Scheduled(5)
    module.weight_decay, module.lambda_param = 0.1, 0.2
    other = pickle.loads(pickle.dumps(module))
    assert (other.steps, other.weight_decay, other.lambda_param, other.lambd) == (5, 0.1, 0.2, 0.2)
    assert len(list(other.parameters())) == 2


@pytest.mark.parametrize("name", ["lambd", "gradient"])
def test_an_option_is_set_after_the_module_is_made(name):
    class Early(BarlowTwinsLoss):
        def __init__(self) -> None:
            setattr(self, name, 0.3)
            super().__init__()

    with pytest.raises(
        AttributeError, match=rf"^{name} is an option: call super\(\).__init__\(\) before it is set$"
    ):
        Early()


HIDEABLE = [
    (BarlowTwinsLoss, "lambd"),
    *((lightly.BarlowTwinsLoss, name) for name in ("lambd", "lambda_param", "gather_distributed")),
]


@pytest.mark.parametrize("kind", [lambda x: x, lambda x: property(lambda self: x), lambda x: lambda self: x])
@pytest.mark.parametrize("base, name", HIDEABLE)
def test_a_subclass_cannot_hide_an_option(kind, base, name):
    """It would be read, and the loss would not be of it."""
    for bases in ((base,), (type("Mixin", (), {name: kind(0.3)}), base)):
        with pytest.raises(
            TypeError, match=f"^Mine.{name} hides an option of the Barlow Twins loss: pass it to super"
        ):
            type("Mine", bases, {name: kind(0.3)} if len(bases) == 1 else {})


def test_every_option_reaches_the_loss():
    z_a, z_b = views(9, 40)
    default = barlow_twins_loss(z_a, z_b)
    for name in ("lambd", "scale", "eps", "unbiased", "eps_added_to"):
        assert not torch.equal(barlow_twins_loss(z_a, z_b, **{name: OPTIONS[name]}), default)
        assert not torch.equal(BarlowTwinsLoss(**{name: OPTIONS[name]})(z_a, z_b), default)


def test_terms():
    z_a, z_b = views(9, 40)
    result = BarlowTwinsLoss(**OPTIONS).terms(z_a, z_b)
    assert isinstance(result, LossTerms) and result._fields == ("loss", "on_diagonal", "off_diagonal")
    assert all(map(torch.equal, result, barlow_twins_terms(z_a, z_b, **OPTIONS)))
    assert torch.equal(result.loss, barlow_twins_loss(z_a, z_b, **OPTIONS))


def test_has_no_state():
    module = BarlowTwinsLoss()
    assert not module.state_dict() and not list(module.parameters()) and not list(module.buffers())
    module.load_state_dict({})
    assert module.eval().half().train() is module


def test_copies_are_the_same_loss():
    z_a, z_b = views(9, 40)
    module = BarlowTwinsLoss(**OPTIONS)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)]
    for other in copies:
        assert other is not module and other._options == module._options
        assert all(map(torch.equal, other.terms(z_a, z_b), module.terms(z_a, z_b)))


def test_repr_shows_what_was_changed():
    assert repr(BarlowTwinsLoss()) == "BarlowTwinsLoss(lambd=0.0051)"
    changed = BarlowTwinsLoss(eps=0.1, backend="eager")
    assert repr(changed) == "BarlowTwinsLoss(lambd=0.0051, eps=0.1, backend='eager')"


def test_auto_is_this_process_where_there_is_no_group():
    z_a, z_b = views(9, 40)
    module = pickle.loads(pickle.dumps(BarlowTwinsLoss(process_group="auto")))
    assert torch.equal(module(z_a, z_b), barlow_twins_loss(z_a, z_b))
    assert torch.equal(barlow_twins_loss(z_a, z_b, process_group="auto"), barlow_twins_loss(z_a, z_b))
    assert repr(module) == "BarlowTwinsLoss(lambd=0.0051, process_group='auto')"


@pytest.mark.parametrize(
    "call",
    [
        lambda z_a, z_b: barlow_twins_loss(z_a, z_b, 0.3),
        lambda z_a, z_b: barlow_twins_terms(z_a, z_b, 0.3),
        lambda z_a, z_b: BarlowTwinsLoss(0.3, 1e-3)(z_a, z_b),  # to other projects' losses an eps
    ],
)
def test_options_are_passed_by_name(call):
    with pytest.raises(TypeError, match="positional argument"):
        call(*views(9, 40))


@pytest.mark.parametrize("function", [barlow_twins_loss, barlow_twins_terms])
def test_a_wrong_call_is_said_by_the_name_of_what_was_called(function):
    z_a, z_b = views(9, 40)
    for views_given, options, message in (
        ((z_a, z_b), {"lamda": 0.1}, "got an unexpected keyword argument 'lamda'"),
        ((z_a,), {}, "missing 1 required positional argument: 'z_b'"),
        ((z_a, z_b, 0.1), {}, "takes 2 positional arguments but 3 were given"),
        ((z_a, z_b), {"z_a": z_a}, "got multiple values for argument 'z_a'"),
    ):
        with pytest.raises(TypeError) as caught:
            function(*views_given, **options)
        # Python 3.13 and later go on: "Did you mean ...?"
        assert str(caught.value).startswith(f"{function.__name__}() {message}")
