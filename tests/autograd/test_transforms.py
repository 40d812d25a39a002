"""torch.func and torch's tracers: what works gives autograd's gradient, and a sentence refuses what does not."""

import copy

import pytest
import torch
from torch.autograd import forward_ad

from bt_kernels.torch_versions import RELEASE
from tests.support.inputs import views
from tests.support.model import Model
from tests.support.target import device

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SHAPES = [(9, 40), (40, 9)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch._dynamo.reset()


@pytest.fixture
def loss(terms):
    return lambda z_a, z_b: terms(z_a, z_b).loss


def gradients(function, *embeddings):
    leaves = [z.detach().requires_grad_() for z in embeddings]
    return torch.autograd.grad(function(*leaves), leaves)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_func_grad(loss, shape):
    z_a, z_b = views(*shape)
    both, value = torch.func.grad_and_value(loss, argnums=(0, 1))(z_a, z_b)
    assert torch.equal(value, loss(z_a, z_b))
    assert all(map(torch.equal, both, gradients(loss, z_a, z_b)))
    assert torch.equal(torch.func.grad(loss)(z_a, z_b), both[0])


@pytest.mark.long_interpreted("as test_func_grad for the kernels")
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # jacrev calls the backward once for each output
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_func_jacobian_of_all_terms(terms, widest, shape):
    """One batch of backwards, of the three outputs."""
    embeddings = views(*shape, widest)
    jacobians = torch.func.jacrev(lambda *z: torch.stack(terms(*z)), argnums=(0, 1))(*embeddings)
    for output in range(3):
        expected = gradients(lambda *z, output=output: terms(*z)[output], *embeddings)
        for view in range(2):
            torch.testing.assert_close(jacobians[view][output], expected[view])


def test_func_vjp(terms):
    z_a, z_b = views(9, 40)
    output_gradients = [torch.tensor(g, device=device()) for g in (1.5, -0.5, 0.25)]
    _, pull_back = torch.func.vjp(lambda *z: tuple(terms(*z)), z_a, z_b)
    expected = gradients(
        lambda *z: sum(g * term for g, term in zip(output_gradients, terms(*z), strict=True)), z_a, z_b
    )
    assert all(map(torch.equal, pull_back(tuple(output_gradients)), expected))


@pytest.fixture
def model(backend, formulation) -> Model:
    return Model(backend=backend, formulation=formulation).to(device())


def test_functional_call(model):
    x = views(9, 12)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    found = torch.func.grad(lambda p: torch.func.functional_call(model, p, x))(parameters)
    model(*x).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_func_grad_twice_is_refused(loss):
    z_a, z_b = views(9, 40)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.func.grad(lambda z: torch.func.grad(loss)(z, z_b).square().sum() + z.sum())(z_a)


TWICE_BY_WHAT_ARRIVES = {
    "a weight of the loss": lambda loss, z_a, z_b: torch.func.grad(
        lambda weight: (torch.func.grad(lambda z: weight * loss(z, z_b))(z_a) * z_b).sum()
    )(torch.ones((), device=z_a.device)),
    "jvp by two backwards": lambda loss, z_a, z_b: torch.autograd.functional.jvp(lambda z: loss(z, z_b), z_a, z_b),
}


@pytest.mark.parametrize("twice", TWICE_BY_WHAT_ARRIVES.values(), ids=TWICE_BY_WHAT_ARRIVES)
def test_a_gradient_is_not_differentiated_by_what_arrived_at_the_loss(loss, twice):
    """It would be 0 there: both take what autograd finds no way to for a constant."""
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        twice(loss, *views(9, 40))


def batch(z):
    return z.expand(3, *z.shape)


def dual(loss, z_a, z_b):
    with forward_ad.dual_level():
        return loss(z_a, forward_ad.make_dual(z_b, z_a))


REFUSALS = {
    "vmap": (lambda loss, *z: torch.vmap(loss)(*map(batch, z)), "torch.vmap cannot batch"),
    "vmap of samples": (lambda loss, *z: torch.vmap(loss)(*z), "torch.vmap cannot batch"),
    "vmap of grad": (
        lambda loss, *z: torch.vmap(torch.func.grad(loss))(*map(batch, z)),
        "torch.vmap cannot batch",
    ),
    "jvp": (lambda loss, *z: torch.func.jvp(loss, z, z), "no forward-mode derivative"),
    "jacfwd": (lambda loss, *z: torch.func.jacfwd(loss)(*z), "no forward-mode derivative"),
    "hessian": (lambda loss, *z: torch.func.hessian(loss)(*z), "no forward-mode derivative"),
    "linearize": (lambda loss, *z: torch.func.linearize(loss, *z), "no forward-mode derivative"),
    "dual numbers": (dual, "no forward-mode derivative"),
    "functionalize": (lambda loss, *z: torch.func.functionalize(loss)(*z), "torch.func.functionalize cannot"),
    "jit.trace": (lambda loss, *z: torch.jit.trace(loss, z), "torch.jit.trace cannot keep"),
    "jit.trace with a gradient": (
        lambda loss, z_a, z_b: torch.jit.trace(loss, (z_a.requires_grad_(), z_b)),
        "torch.jit.trace cannot keep",
    ),
}


@pytest.mark.parametrize("transform, message", REFUSALS.values(), ids=REFUSALS)
def test_refuses(loss, transform, message):
    with pytest.raises(RuntimeError, match=f"^{'.*' if message.startswith('no') else ''}{message}"):
        transform(loss, *views(9, 40))


def test_refuses_to_be_scripted(model):
    with pytest.raises(RuntimeError, match="torch.jit.script cannot compile the Barlow Twins loss"):
        torch.jit.script(model)


COMPILED = {
    "grad": (lambda loss: torch.func.grad(loss), "call torch.func outside of what is compiled"),
    "vmap": (lambda loss: lambda *z: torch.vmap(loss)(*map(batch, z)), "torch.vmap cannot batch"),
    "jvp": (lambda loss: lambda *z: torch.func.jvp(loss, z, z), "no forward-mode derivative"),
    "dual numbers": (lambda loss: lambda *z: dual(loss, *z), "no forward-mode derivative"),
}


@pytest.mark.covering(1)
@pytest.mark.long_interpreted("it is refused before any kernel")
@pytest.mark.parametrize("transform, message", COMPILED.values(), ids=COMPILED)
def test_refuses_within_torch_compile(loss, transform, message):
    """torch.compile would differentiate the op of the forward, which has no derivative: zeros, and no word."""
    if RELEASE < (2, 10):  # Dynamo's words, seen with 2.6 and 2.8, for what was raised
        message = f"{message}|Observed exception|WITH_EXCEPT_START"
    with pytest.raises(RuntimeError, match=message):
        torch.compile(transform(loss), fullgraph=True, backend="aot_eager")(*views(9, 40))


@pytest.mark.covering(1)
@pytest.mark.runs_on("cpu", "cuda", why="torch.compile goes on into the interpreter")
def test_within_torch_compile_that_may_leave_things_out(loss):
    z = views(9, 40)
    found = torch.compile(torch.func.grad(loss), backend="aot_eager")(*z)
    assert torch.equal(found, torch.func.grad(loss)(*z))
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.compile(dual, backend="aot_eager")(loss, *z)


def test_fx_keeps_the_loss_as_one_call(model):
    x = views(9, 12)
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    assert [node.name for node in traced.graph.nodes if node.op == "call_function"].count("compute_terms") == 1
    losses = traced(*x), model(*x)
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    assert torch.equal(traced.projector.weight.grad, model.projector.weight.grad)
