"""Subclasses of torch.Tensor: those that are a tensor with something beside it give its loss and gradient; those
whose numbers are not what their shape says are refused."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.distributed._functional_collectives import AsyncCollectiveTensor

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, cross_correlation, cross_correlation_blocks
from bt_kernels.presets import monai
from tests.support.inputs import views
from tests.support.subclasses import Sums, Unwrapping, WithMeta, Wrapper, masked

pytestmark = pytest.mark.long_interpreted("a subclass is unwrapped before the backends")


@pytest.mark.parametrize("kind", [WithMeta, Unwrapping, Sums])
@pytest.mark.parametrize("options", [{}, {"eps_added_to": "std"}], ids=str)
def test_a_tensor_with_something_beside_it(terms, kind, options):
    plain = [z.requires_grad_() for z in views(9, 40)]
    expected = terms(*plain, **options)
    gradients = torch.autograd.grad(expected.loss, plain)
    leaves = [z.detach().requires_grad_() for z in plain]
    results = terms(*(z.as_subclass(kind) for z in leaves), **options)
    results.loss.backward()
    assert all(type(result) is Tensor for result in results)
    assert all(map(torch.equal, results, expected))
    assert all(map(torch.equal, (z.grad for z in leaves), gradients))
    with torch.no_grad():
        assert torch.equal(terms(*(z.as_subclass(kind) for z in leaves), **options).loss, expected.loss)


def test_a_leaf_of_a_subclass_gets_its_gradient(terms):
    z_a, z_b = views(9, 40)
    leaf = z_a.clone().as_subclass(WithMeta).requires_grad_()
    terms(leaf, z_b).loss.backward()
    expected = torch.autograd.grad(terms(z_a.requires_grad_(), z_b).loss, z_a)[0]
    with torch._C.DisableTorchFunctionSubclass():
        assert torch.equal(leaf.grad, expected)


def test_parameters(terms):
    z_a, z_b = views(9, 40)
    parameter = nn.Parameter(z_a)
    assert torch.equal(terms(parameter, z_b).loss, terms(z_a, z_b).loss)


@pytest.mark.runs_on("cpu")
def test_the_correlation_of_subclasses():
    z_a, z_b = views(9, 40)
    c = cross_correlation(*(z.as_subclass(Sums) for z in (z_a, z_b)))
    assert type(c) is Tensor and torch.equal(c, cross_correlation(z_a, z_b))


@pytest.mark.runs_on("cpu")
def test_what_a_collective_still_brings(terms):
    z_a, z_b = views(9, 40)
    assert torch.equal(terms(AsyncCollectiveTensor(z_a), z_b).loss, terms(z_a, z_b).loss)


@pytest.mark.runs_on("cpu")
def test_fake_tensors(terms):
    with FakeTensorMode() as mode:
        z_a, z_b = (mode.from_tensor(z).requires_grad_() for z in views(9, 40))
        loss = terms(z_a, z_b).loss
        loss.backward()
    assert loss.shape == () and z_a.grad.shape == z_a.shape


REFUSED = {"Wrapper": Wrapper, "MaskedTensor": masked}


@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize(
    "function",
    [
        BarlowTwinsLoss(),
        barlow_twins_loss,
        cross_correlation,
        cross_correlation_blocks,
        monai.BarlowTwinsLoss(),
    ],
    ids=["module", "function", "cross_correlation", "cross_correlation_blocks", "preset"],
)
@pytest.mark.parametrize("name, wrap", REFUSED.items(), ids=REFUSED)
def test_refuses(function, name, wrap):
    z_a, z_b = views(9, 40)
    for arguments, which in (((wrap(z_a), z_b), "z_a"), ((z_a, wrap(z_b)), "z_b")):
        with pytest.raises(TypeError, match=f"{which} must be a plain tensor, got a {name}"):
            function(*arguments)


@pytest.mark.parametrize("name, wrap", REFUSED.items(), ids=REFUSED)
def test_refuses_for_every_backend(terms, name, wrap):
    z_a, z_b = views(9, 40)
    with pytest.raises(TypeError, match=f"z_a must be a plain tensor, got a {name}"):
        terms(wrap(z_a), z_b)


def test_refuses_a_jagged_tensor(terms):
    jagged = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(3, 3)], layout=torch.jagged)
    with pytest.raises(TypeError, match="z_b must be a plain tensor, got a NestedTensor"):
        terms(torch.zeros(5, 3), jagged)
