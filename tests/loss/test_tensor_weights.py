"""lambd and scale as 0-d tensors: the loss and gradients of their numbers, which nothing reads; and what torch's
transforms make of them. Under torch.compile: test_compiled_schedule.py."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss
from bt_kernels.options import LossOptions
from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import DTYPES, views
from tests.support.subclasses import Unwrapping, WithMeta, Wrapper
from tests.support.target import device, few_kinds

SHAPES = [(9, 40), (40, 9)]
# Numbers that every dtype has.
BOTH = ("lambd", "scale")
FORMULA = Formula(lambd=0.0625, scale=1.5, output_gradients=(1.5, 0.5, 0.25))


def tensor(value: float, dtype: torch.dtype = torch.float64, **how) -> torch.Tensor:
    return torch.tensor(value, dtype=dtype, **{"device": device(), **how})


def with_tensors(terms, names=BOTH, how={}):  # noqa: B006
    """terms with the named options as tensors."""

    def call(z_a, z_b, **options):
        options.update({name: torch.tensor(options[name], **{"device": device(), **how}) for name in names})
        return terms(z_a, z_b, **options)

    return call


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.bfloat16)), ids=str)
def test_is_held_to_the_standard(terms, yardstick, dtype, shape):
    expected = yardstick(*shape, dtype, FORMULA)
    result = evaluate(with_tensors(terms), expected.z_a, expected.z_b, FORMULA)
    expected.check(result)
    plain = evaluate(terms, expected.z_a, expected.z_b, FORMULA)
    assert [term.dtype for term in result.terms] == [term.dtype for term in plain.terms]
    assert all(map(torch.equal, result.terms[1:], plain.terms[1:]))


KINDS = {
    **{str(dtype): {"dtype": dtype} for dtype in (*DTYPES, torch.float8_e5m2)},
    "on the CPU": {"device": "cpu"},
    "with a gradient": {"requires_grad": True},
}


@pytest.mark.long_interpreted("the kernels have the number that test_is_held_to_the_standard checks")
@pytest.mark.parametrize("names", [("lambd",), ("scale",), ("lambd", "scale")], ids=str)
@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS)
def test_every_kind_of_tensor_gives_the_same_bits(terms, how, names):
    expected, found = (
        evaluate(with_tensors(terms, *of_kind), *views(9, 40), FORMULA) for of_kind in ((BOTH,), (names, how))
    )
    assert all(map(torch.equal, (*found.terms, *found.gradients), (*expected.terms, *expected.gradients)))


def test_under_autocast(terms):
    z_a, z_b = views(9, 40)
    expected = evaluate(with_tensors(terms), z_a, z_b, FORMULA)
    with torch.autocast(device().type, torch.bfloat16):
        found = evaluate(with_tensors(terms), z_a, z_b, FORMULA)
    assert all(map(torch.equal, (*found.terms, *found.gradients), (*expected.terms, *expected.gradients)))


def test_integers(terms):
    z_a, z_b = views(9, 40)
    expected = terms(z_a, z_b, lambd=tensor(2.0), scale=tensor(3.0)).loss
    for lambd, scale in ((torch.int64, torch.uint8), (torch.uint16, torch.uint64)):
        assert torch.equal(terms(z_a, z_b, lambd=tensor(2, lambd), scale=tensor(3, scale)).loss, expected)


@pytest.mark.covering(1)
@pytest.mark.backends("cpu", "eager", why="float64")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_all_four(terms, shape):
    arguments = *views(*shape, torch.float64), tensor(0.3), tensor(1.7)
    for argument in arguments:
        argument.requires_grad_()
    loss = lambda z_a, z_b, lambd, scale: terms(z_a, z_b, lambd=lambd, scale=scale).loss  # noqa: E731
    assert torch.autograd.gradcheck(loss, arguments)


@pytest.mark.parametrize("trained", [True, False])
def test_the_gradients_of_lambd_and_scale_are_the_terms(terms, trained):
    z_a, z_b = (z.requires_grad_(trained) for z in views(9, 40))
    lambd, scale = (tensor(value, requires_grad=True) for value in (0.25, 2.0))
    loss, on_diagonal, off_diagonal = terms(z_a, z_b, lambd=lambd, scale=scale)
    loss.backward()
    assert torch.equal(lambd.grad, 2.0 * off_diagonal.double())
    assert torch.equal(scale.grad, on_diagonal.double() + 0.25 * off_diagonal.double())


@pytest.mark.long_interpreted("the kernels have the number that test_is_held_to_the_standard checks")
def test_transforms_of_lambd(terms):
    z_a, z_b = views(9, 40)
    loss = lambda lambd: terms(z_a, z_b, lambd=lambd).loss  # noqa: E731
    lambd, off_diagonal = tensor(0.25), terms(z_a, z_b).off_diagonal
    assert torch.equal(torch.func.grad(loss)(lambd), off_diagonal.double())
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(loss(forward_ad.make_dual(lambd, tensor(2.0)))).tangent
        assert torch.equal(tangent, 2 * off_diagonal)
    with pytest.raises(RuntimeError, match="torch.vmap cannot batch"):
        torch.vmap(loss)(lambd.expand(3))


def test_the_gradient_s_derivative_by_lambd_is_refused(terms):
    """It would be zero."""
    z_a, z_b = (z.requires_grad_() for z in views(9, 40))
    lambd = tensor(0.25, requires_grad=True)
    gradient = torch.autograd.grad(terms(z_a, z_b, lambd=lambd).loss, z_a, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        (gradient.sum() + lambd).backward()


class Unread(TorchDispatchMode):
    """Fails where a number is asked for, which waits for a GPU."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a tensor's number was read"
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("eps_added_to", ["variance", "std"])
def test_nothing_reads_them(backend, formulation, eps_added_to):
    z_a, z_b = (z.requires_grad_() for z in views(9, 40))
    lambd, scale = tensor(0.25, requires_grad=True), tensor(2.0)
    how = {"backend": backend, "formulation": formulation, "eps_added_to": eps_added_to}
    with Unread():
        with pytest.raises(AssertionError, match="was read"):
            float(scale)
        criterion = BarlowTwinsLoss(lambd, scale=scale, **how)
        criterion(z_a, z_b).backward()
        criterion.lambd = tensor(0.5)
        criterion(z_a, z_b).backward()


@pytest.mark.runs_on("cpu")
def test_subclasses_and_parameters_count_as_the_tensor_that_they_are():
    z_a, z_b = views(9, 40)
    expected = barlow_twins_loss(z_a, z_b, lambd=tensor(0.25))
    for kind in (WithMeta, Unwrapping):
        found = barlow_twins_loss(z_a, z_b, lambd=tensor(0.25).as_subclass(kind))
        assert type(found) is torch.Tensor and torch.equal(found, expected)
    parameter = nn.Parameter(tensor(0.25))
    found = barlow_twins_loss(z_a, z_b, lambd=parameter)
    assert torch.equal(found, expected) and found.requires_grad


REFUSED = {
    "shape": (lambda: torch.ones(1), ValueError, r"must be a number or a 0-d tensor, got shape \(1,\)"),
    "complex": (lambda: torch.tensor(1j), TypeError, "must be a real number, got a tensor of torch.complex64"),
    "bool": (lambda: torch.tensor(True), TypeError, "must be a real number, got a tensor of torch.bool"),
    "sparse": (lambda: torch.tensor(1.0).to_sparse(), TypeError, "must be a dense"),
    "wrapper": (lambda: Wrapper(torch.tensor(1.0)), TypeError, "must be a plain tensor, got a Wrapper"),
    "device": (
        lambda: torch.tensor(1.0, device="meta"),
        ValueError,
        "must be on the CPU or, as the embeddings are, on cpu: got meta",
    ),
}


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("name", ["lambd", "scale"])
@pytest.mark.parametrize("make, error, message", REFUSED.values(), ids=REFUSED)
def test_refuses(name, make, error, message):
    with pytest.raises(error, match=f"^{name} {message}"):
        barlow_twins_loss(*views(9, 40), **{name: make()})


@pytest.mark.runs_on("cpu")
def test_options_with_tensors_can_be_compared():
    options = LossOptions(torch.tensor(0.25), torch.tensor(2.0))
    same, other = copy.deepcopy(options), replace(options, lambd=torch.tensor(0.5))
    assert same.lambd is not options.lambd
    assert options == same and hash(options) == hash(same) and options == LossOptions(0.25, 2.0)
    assert options != other
    assert "lambd=tensor(0.2500)" in str(options)


@pytest.mark.runs_on("cpu")
def test_a_module_with_tensors():
    z_a, z_b = views(9, 40)
    module = BarlowTwinsLoss(torch.tensor(0.25), scale=torch.tensor(2.0))
    expected = module(z_a, z_b)
    assert repr(module) == "BarlowTwinsLoss(lambd=tensor(0.2500), scale=tensor(2.))"
    assert repr(BarlowTwinsLoss(scale=torch.tensor(1.0))) == "BarlowTwinsLoss(lambd=0.0051, scale=tensor(1.))"
    assert not module.state_dict() and not list(module.parameters())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        other.scale.fill_(7.0)
        assert torch.equal(module(z_a, z_b), expected)
        other.scale.fill_(2.0)
        assert torch.equal(other(z_a, z_b), expected)
    module.lambd.fill_(0.5)
    assert torch.equal(module(z_a, z_b), barlow_twins_loss(z_a, z_b, lambd=0.5, scale=torch.tensor(2.0)))


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("kind", [nn.Parameter, nn.Buffer], ids=lambda kind: kind.__name__)
def test_a_parameter_that_is_set_stays_its_owner_s(kind):
    """nn.Module would register it, under the option's name."""
    z_a, z_b = views(9, 40)
    module, lambd = BarlowTwinsLoss(), kind(torch.tensor(0.25))
    module.lambd = lambd
    assert module.lambd is lambd
    assert not module.state_dict() and not list(module.parameters())
    assert torch.equal(module(z_a, z_b), barlow_twins_loss(z_a, z_b, lambd=torch.tensor(0.25)))


class Scheduled(nn.Module):
    """lambd is a buffer of the user's own."""

    def __init__(self, **how) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.projector = nn.Linear(12, 20)
        self.register_buffer("lambd", torch.tensor(0.25))
        self.how = how

    def forward(self, x_a, x_b):
        return barlow_twins_loss(self.projector(x_a), self.projector(x_b), lambd=self.lambd, **self.how)


@pytest.mark.covering(1)
@pytest.mark.long_interpreted("the kernels have the number that test_is_held_to_the_standard checks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("strict", [False, True])
def test_export_keeps_a_buffer(backend, formulation, strict):
    model, x = Scheduled(backend=backend, formulation=formulation).to(device()), views(9, 12)
    with torch.no_grad():
        program = torch.export.export(model, x, strict=strict)
        ops = [node.target for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
        assert {op.namespace for op in ops} <= {"aten", "bt_kernels_cpu", "bt_kernels_triton", "bt_kernels_cuda"}
        exported = program.module()
        for each in (exported, model):
            each.lambd.fill_(0.5)
        assert torch.equal(exported(*x), model(*x))
    torch._dynamo.reset()


def test_fx_keeps_the_tensor(backend, formulation):
    x = views(9, 12)
    loss = BarlowTwinsLoss(tensor(0.25), backend=backend, formulation=formulation)
    traced = torch.fx.symbolic_trace(loss)
    assert torch.equal(traced(*x), loss(*x))
