"""Embeddings that are not contiguous give what contiguous ones give: the C++ and Triton ops the same bits, and
plain PyTorch, whose reductions run in another order over transposed tensors, a result within the standard."""

import pytest
import torch

from tests.support.accuracy import Result
from tests.support.inputs import DTYPES, views
from tests.support.layouts import LAYOUTS
from tests.support.target import few, few_kinds


def loss_and_gradients(terms, z_a, z_b) -> Result:
    z_a, z_b = z_a.detach().requires_grad_(), z_b.detach().requires_grad_()
    result = terms(z_a, z_b)
    return Result(tuple(result), torch.autograd.grad(result.loss, (z_a, z_b)))


def assert_same(backend, actual, expected):
    if backend != "eager":
        assert all(map(torch.equal, actual.terms + actual.gradients, expected.terms + expected.gradients))


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32,)), ids=str)
@pytest.mark.parametrize("shape", few([(9, 40), (40, 9), (5, 1030)], [(9, 40)]), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout(backend, terms, yardstick, layout, shape, dtype):
    expected = yardstick(*shape, dtype)
    contiguous = expected.z_a, expected.z_b
    laid_out = layout(expected.z_a), layout(expected.z_b)
    assert all(not z.is_contiguous() or z.storage_offset() for z in laid_out)
    assert all(map(torch.equal, laid_out, contiguous))
    same = loss_and_gradients(terms, *contiguous)
    for which in ((0,), (1,), (0, 1)):
        actual = loss_and_gradients(terms, *((laid_out if i in which else contiguous)[i] for i in range(2)))
        expected.check(actual)
        assert_same(backend, actual, same)


@pytest.mark.covering(2)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.bfloat16,)), ids=str)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("which", ["one feature", "one sample", "one number"])
def test_expanded(backend, terms, yardstick_of, which, shape, dtype):
    """Stride 0 in either dimension or in both."""
    z_a, z_b = views(*shape, dtype)
    start = {"one feature": z_a[:, :1], "one sample": z_a[:1], "one number": z_a[:1, :1]}[which]
    expanded = start.expand(shape)
    actual = loss_and_gradients(terms, expanded, z_b)
    yardstick_of(expanded, z_b).check(actual)
    assert_same(backend, actual, loss_and_gradients(terms, expanded.contiguous(), z_b))
