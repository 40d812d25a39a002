"""torch.export: without a gradient the loss goes along, bit for bit; with one, an error says that it cannot."""

import pytest
import torch

from bt_kernels.torch_versions import RELEASE
from tests.support.inputs import views
from tests.support.model import Model
from tests.support.target import device

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.long_interpreted("what is exported does not depend on the backend but for the ops' names"),
    pytest.mark.covering(1),
]


@pytest.fixture
def model(backend, formulation) -> Model:
    yield Model(backend=backend, formulation=formulation).to(device())
    torch._dynamo.reset()


@pytest.mark.parametrize("strict", [False, True])
def test_without_gradient(model, strict):
    x_a, x_b = views(9, 12)
    with torch.no_grad():
        exported = torch.export.export(model, (x_a, x_b), strict=strict).module()
        assert torch.equal(exported(x_a, x_b), model(x_a, x_b))
        assert torch.equal(exported(x_b, 2 * x_a), model(x_b, 2 * x_a))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("least, most", [(2, 19), (20, 64)], ids=str)
def test_batches_of_any_size_on_one_side_of_the_features(backend, least, most, strict):
    """What chooses the formulation can be decided for all of them: the model's D is 20."""
    model, rows = Model(backend=backend).to(device()), torch.export.Dim("rows", min=least, max=most)
    with torch.no_grad():
        exported = torch.export.export(
            model, views(least + 1, 12), strict=strict, dynamic_shapes=({0: rows}, {0: rows})
        ).module()
        for n in (least, most):
            assert torch.equal(exported(*views(n, 12)), model(*views(n, 12)))
    torch._dynamo.reset()


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_has_no_ops_but_the_library_s_own(model, strict):
    """Those for torch.compile are made in Python: what loads the C++ library alone would not find them."""
    with torch.no_grad():
        graph = torch.export.export(model, views(9, 12), strict=strict).graph
    ops = [node.target for node in graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    assert {op.namespace for op in ops} <= {"aten", "bt_kernels_cpu", "bt_kernels_triton", "bt_kernels_cuda"}


@pytest.mark.parametrize("strict", [False, True])
def test_with_a_gradient_it_says_that_it_cannot(model, strict):
    x_a, x_b = views(9, 12)
    sentence = r"torch.export cannot keep the backward .* under torch.no_grad\(\)"
    if strict and RELEASE < (2, 10):
        sentence += "|Observed exception"  # Dynamo's own words, seen with 2.6 and 2.8, for whatever was raised
    with pytest.raises(RuntimeError, match=sentence):
        torch.export.export(model, (x_a, x_b), strict=strict)


def test_with_embeddings_that_need_none(model):
    x_a, x_b = views(9, 12)
    exported = torch.export.export(model.requires_grad_(False), (x_a, x_b)).module()
    assert torch.equal(exported(x_a, x_b), model(x_a, x_b))


def test_the_model_beside_it_is_exported_with_its_gradient(model):
    """What the message advises."""
    x_a, x_b = views(9, 12)
    exported = torch.export.export(model.projector, (x_a,)).module()
    loss = model.loss(exported(x_a), exported(x_b))
    loss.backward()
    model(x_a, x_b).backward()
    assert torch.equal(exported.weight.grad, model.projector.weight.grad)
