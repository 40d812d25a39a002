"""lambd and scale that change from call to call under torch.compile(fullgraph=True): how often it compiles, and
that each value counts. It gives up where a function was compiled more than 8 times."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.testing import CompileCounterWithBackend

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms
from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import views
from tests.support.target import device, few

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.long_interpreted("what is compiled again does not depend on the backend"),
    pytest.mark.covering(1),
]
VALUES = [(0.01 + 0.003 * step, 1.5 - step / 16) for step in range(few(20, 10))]
EMBEDDINGS = 9, 40


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def how(backend, formulation) -> dict:
    return {"backend": backend, "formulation": formulation}


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, device=device())


def as_arguments(how, make):
    """Called with a value, as make makes it."""

    def run(z_a, z_b, lambd, scale):
        return barlow_twins_loss(z_a, z_b, lambd=lambd, scale=scale, **how)

    return run, lambda run, z, *values: run(*z, *map(make, values))


def as_attributes(how, make):
    """Set anew on one module for each call."""
    criterion = BarlowTwinsLoss(**how)

    def step(run, z, *values):
        criterion.lambd, criterion.scale = map(make, values)
        return run(*z)

    return lambda z_a, z_b: criterion(z_a, z_b), step


def as_modules(how, make):
    """A module for each call."""

    def step(run, z, lambd, scale):
        return run(BarlowTwinsLoss(make(lambd), scale=make(scale), **how), *z)

    return lambda criterion, z_a, z_b: criterion(z_a, z_b), step


def in_place(how, make):
    """One tensor each, whose number changes."""
    lambd, scale = make(1.0), make(1.0)
    criterion = BarlowTwinsLoss(lambd, scale=scale, **how)

    def step(run, z, *values):
        lambd.fill_(values[0]), scale.fill_(values[1])
        return run(*z)

    return lambda z_a, z_b: criterion(z_a, z_b), step


class WithBuffers(nn.Module):
    """A module of the user's, whose buffers lambd and scale are."""

    def __init__(self, how) -> None:
        super().__init__()
        self.how = how
        for name in ("lambd", "scale"):
            self.register_buffer(name, tensor(1.0))

    def forward(self, z_a, z_b):
        return barlow_twins_loss(z_a, z_b, lambd=self.lambd, scale=self.scale, **self.how)


def as_buffers(how, make):
    module = WithBuffers(how)

    def step(run, z, *values):
        module.lambd.fill_(values[0]), module.scale.fill_(values[1])
        return run(*z)

    return lambda z_a, z_b: module(z_a, z_b), step


def losses_and_gradients(run, step):
    for values in VALUES:
        z = [each.requires_grad_() for each in views(*EMBEDDINGS)]
        loss = step(run, z, *values)
        yield loss, *torch.autograd.grad(loss, z)


@pytest.mark.parametrize("schedule", [as_arguments, as_attributes, as_modules, as_buffers, in_place])
def test_tensors_are_compiled_once(how, schedule):
    """And give the bits of the uncompiled."""
    counter = CompileCounterWithBackend("aot_eager")
    run, step = schedule(how, tensor)
    compiled = losses_and_gradients(torch.compile(run, fullgraph=True, backend=counter), step)
    for found, expected in zip(compiled, losses_and_gradients(run, step), strict=True):
        assert all(map(torch.equal, found, expected))
    assert counter.frame_count == 1


class SetsItself(nn.Module):
    def __init__(self, how) -> None:
        super().__init__()
        self.criterion = BarlowTwinsLoss(**how)

    def forward(self, z_a, z_b, lambd):
        self.criterion.lambd = lambd
        return self.criterion(z_a, z_b)


def test_what_is_compiled_may_set_a_tensor(how):
    """The value counts at once: Dynamo of torch 2.6 puts off what object.__setattr__ does."""
    model, z = SetsItself(how), views(*EMBEDDINGS)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for value, _ in VALUES:
        assert torch.equal(compiled(*z, tensor(value)), model(*z, tensor(value)))


NUMBERS = {
    "float": float,
    "int": lambda value: round(1000 * value),
    "np.float64": np.float64,
    "np.float32": np.float32,
    "0-d array": np.array,
}
SCHEDULES = [
    *((as_arguments, name) for name in NUMBERS),
    *((schedule, "float") for schedule in (as_attributes, as_modules)),
]


@pytest.mark.parametrize("schedule, kind", SCHEDULES, ids=lambda x: getattr(x, "__name__", x))
def test_numbers_are_compiled_twice(how, schedule, kind, yardstick):
    """Once for the first values, and once for all the others, with which the loss is rounded as with tensors."""
    counter = CompileCounterWithBackend("aot_eager")
    run, step = schedule(how, NUMBERS[kind])
    compiled = torch.compile(run, fullgraph=True, backend=counter)
    for values in VALUES:
        formula = Formula(*(float(NUMBERS[kind](value)) for value in values))
        expected = yardstick(*EMBEDDINGS, formula=formula)

        def terms(*z, of_truth=expected.truth.terms, values=values, **options):
            return step(compiled, z, *values), *of_truth[1:]

        expected.check(evaluate(terms, expected.z_a, expected.z_b, formula))
    # Arrays are tensors: the first values would do for all. Of float64 torch.compile begins again, once.
    assert counter.frame_count <= 2


def test_each_eps_is_compiled(backend, how, yardstick):
    """The ops take it as a number. torch.compile says in the end that there were too many."""

    def run(z_a, z_b, eps):
        return barlow_twins_terms(z_a, z_b, eps=eps, **how)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for step in range(4):
        expected = yardstick(*EMBEDDINGS, formula=Formula(eps=1e-5 * (1 + step)))
        expected.check_terms(compiled(expected.z_a, expected.z_b, expected.formula.eps))
    if backend != "eager":
        with pytest.raises(FailOnRecompileLimitHit):
            for step in range(4, 12):
                compiled(*views(*EMBEDDINGS), 1e-5 * (1 + step))
