"""What autograd may ask of the loss: which gradients, how often, with what coming in; what is never touched."""

import pytest
import torch

from bt_kernels.backends.registry import BACKENDS
from tests.support.inputs import DTYPES, views
from tests.support.target import device, few_kinds

SHAPES = [(9, 40), (40, 9)]


@pytest.fixture
def forward_calls(monkeypatch, backend):
    """(needs_backward, residuals) of every forward that runs in the backend."""
    calls = []

    def recorded(forward):
        def record(z_a, z_b, options, needs_backward):
            result = forward(z_a, z_b, options, needs_backward)
            calls.append((needs_backward, result[1]))
            return result

        return record

    for name in ("gram_forward", "correlation_forward"):
        monkeypatch.setattr(BACKENDS[backend], name, recorded(getattr(BACKENDS[backend], name)))
    return calls


INCOMING = {
    "random": lambda: torch.tensor(-1.37, device=device()),
    "with an offset": lambda: torch.tensor([3.0, 5.0, 7.0], device=device())[1],
    "strided": lambda: torch.arange(12.0, device=device()).view(3, 4)[::2, ::3][1, 1],
    "expanded": lambda: torch.tensor([2.5], device=device()).expand(4)[2],
    "zero": lambda: torch.tensor(0.0, device=device()),
}


@pytest.mark.long_interpreted("the kernels read what arrives as a number, however it is made")
@pytest.mark.parametrize("make", INCOMING.values(), ids=INCOMING)
@pytest.mark.parametrize("output", range(3), ids=["loss", "on_diagonal", "off_diagonal"])
def test_incoming_gradient_scales_the_gradient(terms, output, make):
    z_a, z_b = (z.requires_grad_() for z in views(9, 40))
    incoming = make()
    plain = torch.autograd.grad(terms(z_a, z_b)[output], (z_a, z_b))
    scaled = torch.autograd.grad(terms(z_a, z_b)[output], (z_a, z_b), incoming)
    for gradient, unscaled in zip(scaled, plain, strict=True):
        # One rounding where the incoming gradient enters, one for each product behind it.
        torch.testing.assert_close(gradient, incoming * unscaled, rtol=0, atol=1e-5 * float(abs(incoming)))
        assert bool(gradient.abs().sum()) == bool(incoming)


def test_gradient_through_an_expanded_output(terms, widest):
    z_a, z_b = (z.requires_grad_() for z in views(9, 40, widest))
    weights = torch.tensor([0.5, -2.0, 0.25], dtype=widest, device=device())
    expanded = torch.autograd.grad(terms(z_a, z_b).loss.expand(3), (z_a, z_b), weights)
    direct = torch.autograd.grad(terms(z_a, z_b).loss * weights.sum(), (z_a, z_b))
    assert all(map(torch.equal, expanded, direct))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("trained", [0, 1])
def test_one_view_frozen(terms, yardstick, trained, dtype, shape):
    expected = yardstick(*shape, dtype)
    both = [z.clone().requires_grad_() for z in (expected.z_a, expected.z_b)]
    terms(*both).loss.backward()
    one = [z.clone().requires_grad_(view == trained) for view, z in enumerate((expected.z_a, expected.z_b))]
    terms(*one).loss.backward()
    assert one[1 - trained].grad is None
    assert torch.equal(one[trained].grad, both[trained].grad)
    expected.check_gradient(trained, one[trained].grad)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_same_bits_and_no_gradient_work_without_grad(terms, forward_calls, without, shape):
    z_a, z_b = views(*shape)
    with_grad = terms(z_a.clone().requires_grad_(), z_b)
    # Under enable_grad it is the inputs that need no gradient.
    needs = without is not torch.enable_grad
    with without():
        plain = terms(z_a.clone().requires_grad_(needs), z_b)
    assert [needs_backward for needs_backward, _ in forward_calls] == [True, False]
    assert forward_calls[1][1] is None
    for term, other in zip(plain, with_grad, strict=True):
        assert torch.equal(term, other) and not term.requires_grad


@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float16,)), ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inputs_are_not_modified(terms, shape, dtype):
    z_a, z_b = (z.requires_grad_() for z in views(*shape, dtype))
    before = z_a.detach().clone(), z_b.detach().clone()
    terms(z_a, z_b).loss.backward()
    assert torch.equal(z_a, before[0]) and torch.equal(z_b, before[1])
    assert z_a._version == 0 and z_b._version == 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_second_backward_gives_the_same_bits(terms, shape):
    z_a, z_b = (z.requires_grad_() for z in views(*shape))
    loss = terms(z_a, z_b).loss
    first = torch.autograd.grad(loss, (z_a, z_b), retain_graph=True)
    second = torch.autograd.grad(loss, (z_a, z_b))
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, (z_a, z_b))


def test_double_backward_is_refused(terms):
    z_a, z_b = (z.requires_grad_() for z in views(9, 40))
    gradient = torch.autograd.grad(terms(z_a, z_b).loss, z_a, create_graph=True)[0]
    # Beside another term, so that a gradient of zero in place of an error would not be noticed by autograd.
    penalty = gradient.pow(2).sum() + z_a.sum()
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        penalty.backward()


def test_embeddings_changed_before_the_backward_are_noticed(terms):
    """The backward standardizes the embeddings again, so it must not run on others than the forward did."""
    z_a, z_b = views(9, 40)
    loss = terms(z_a.requires_grad_(), z_b).loss
    z_b.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_tensor_twice_gets_the_sum(terms, widest, shape):
    z = views(*shape, widest)[0].requires_grad_()
    copies = [z.detach().clone().requires_grad_() for _ in range(2)]
    terms(z, z).loss.backward()
    terms(*copies).loss.backward()
    assert torch.equal(z.grad, copies[0].grad + copies[1].grad)


def test_gradients_accumulate(terms, widest):
    z_a, z_b = (z.requires_grad_() for z in views(9, 40, widest))
    terms(z_a, z_b).loss.backward()
    once = z_a.grad.clone()
    terms(z_a, z_b).loss.backward()
    assert torch.equal(z_a.grad, 2 * once)


def test_backward_of_two_losses_in_either_order(terms):
    """What one forward saved is not what another one's backward reads."""
    pairs = [tuple(z.requires_grad_() for z in views(9, 40, seed=seed)) for seed in range(2)]
    alone = [torch.autograd.grad(terms(*pair).loss, pair) for pair in pairs]
    losses = [terms(*pair).loss for pair in pairs]
    for index in (0, 1):
        assert all(map(torch.equal, torch.autograd.grad(losses[index], pairs[index]), alone[index]))
