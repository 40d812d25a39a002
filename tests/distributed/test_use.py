"""As people use it: one frozen view, no gradient, strides, autocast, NaN, compile, copies; one loss everywhere."""

import copy
import pickle

import pytest
import torch

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms
from bt_kernels.torch_versions import RELEASE
from tests.support.distributed.on_rank import error_of
from tests.support.inputs import views


def split(z_a, z_b, rows):
    return list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))


def loss_on_rank(group, options, needs, z_a, z_b):
    z_a, z_b = (z.requires_grad_(need) for z, need in zip((z_a, z_b), needs, strict=True))
    loss = barlow_twins_loss(z_a, z_b, process_group=group, **options)
    if any(needs):
        loss.backward()
    return loss.detach(), z_a.grad, z_b.grad


@pytest.mark.parametrize("rows, d", [((6, 0, 9), 31), ((20, 14), 11)], ids=str)
def test_needs_are_met_and_nothing_else(run, formulation, rows, d):
    z_a, z_b = views(sum(rows), d)
    options = {"formulation": formulation}
    results = {
        needs: run(len(rows), loss_on_rank, options, needs, per_rank=split(z_a, z_b, rows))
        for needs in ((True, True), (True, False), (False, True), (False, False))
    }
    for needs, ranks in results.items():
        for rank, (loss, *gradients) in enumerate(ranks):
            assert torch.equal(loss, results[True, True][0][0])
            for view, needed in enumerate(needs):
                both = results[True, True][rank][1 + view]
                assert torch.equal(gradients[view], both) if needed else gradients[view] is None


def nan_on_rank(group, options, z_a, z_b):
    return loss_on_rank(group, options, (True, True), z_a, z_b)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows, d", [((5, 8, 3), 40), ((20, 9, 11), 10)], ids=str)
def test_nan_on_one_rank_is_nan_on_all(run, formulation, rows, d, bad):
    z_a, z_b = views(sum(rows), d)
    z_b[rows[0] + 1, 3] = bad
    results = run(len(rows), nan_on_rank, {"formulation": formulation}, per_rank=split(z_a, z_b, rows))
    for loss, dz_a, dz_b in results:
        assert loss.isnan() and dz_a.isnan().any() and dz_b.isnan().any()


def strided_on_rank(group, options, z_a, z_b):
    results = []
    for change in (lambda z: z, lambda z: z.T.contiguous().T, lambda z: torch.stack([z, -z], 2)[:, :, 0]):
        a, b = (change(z).requires_grad_() for z in (z_a, z_b))
        before = a.detach().clone(), b.detach().clone()
        loss = barlow_twins_loss(a, b, process_group=group, **options)
        first = torch.autograd.grad(loss, (a, b), retain_graph=True)
        second = torch.autograd.grad(loss, (a, b))
        assert all(map(torch.equal, first, second)) and all(map(torch.equal, before, (a, b)))
        results.append((loss.detach(), *first))
    return results


@pytest.mark.parametrize("rows, d", [((5, 8), 40), ((20, 9), 10)], ids=str)
def test_strides_and_a_second_backward(run, formulation, rows, d):
    options = {"formulation": formulation}
    z_a, z_b = views(sum(rows), d, torch.float64)
    for contiguous, *others in run(2, strided_on_rank, options, per_rank=split(z_a, z_b, rows)):
        for other in others:
            torch.testing.assert_close(other, contiguous, rtol=1e-9, atol=1e-13)


def autocast_on_rank(group, z_a, z_b):
    z_a, z_b = (z.requires_grad_() for z in (z_a, z_b))
    with torch.autocast("cpu", torch.bfloat16):
        losses = [
            barlow_twins_loss(z_a, z_b, process_group=group, formulation=formulation)
            for formulation in ("gram", "correlation")
        ]
    plain = [
        barlow_twins_loss(z_a, z_b, process_group=group, formulation=formulation)
        for formulation in ("gram", "correlation")
    ]
    assert all(map(torch.equal, losses, plain))
    gradients = torch.autograd.grad(65536 * losses[0], (z_a, z_b))
    return [gradient.abs().max().item() for gradient in gradients]


def test_autocast_rounds_nothing(run):
    largest = run(2, autocast_on_rank, per_rank=split(*views(12, 20), (5, 7)))
    assert all(0 < x < float("inf") for rank in largest for x in rank)


def compiled_on_rank(group, z_a, z_b):
    criterion = BarlowTwinsLoss(process_group=group)
    z_a, z_b = (z.requires_grad_() for z in (z_a, z_b))

    def step(a, b):
        return criterion(2 * a, b.relu()) * 3

    compiled = torch.compile(step, backend="aot_eager")(z_a, z_b)
    assert torch.equal(compiled, step(z_a, z_b))
    compiled.backward()
    torch.compiler.reset()
    whole = torch.compile(step, backend="aot_eager", fullgraph=True)
    return z_a.grad, error_of(whole, z_a, z_b)


@pytest.mark.long
def test_compile_breaks_the_graph_and_says_so(run):
    for gradient, (_, message) in run(2, compiled_on_rank, per_rank=split(*views(12, 20), (5, 7))):
        assert gradient.abs().max() > 0
        reason = "the Barlow Twins loss over a process_group exchanges shapes between processes"
        assert (reason if RELEASE >= (2, 7) else "global_batch_terms") in message


def twice_on_rank(group, z_a, z_b):
    z_a, z_b = (z.requires_grad_() for z in (z_a, z_b))
    gradient, *_ = torch.autograd.grad(
        barlow_twins_loss(z_a, z_b, process_group=group), (z_a, z_b), create_graph=True
    )
    return error_of(lambda: gradient.square().sum().backward())


def test_a_second_derivative_raises(run):
    for kind, message in run(2, twice_on_rank, per_rank=split(*views(12, 20), (5, 7))):
        assert kind == "RuntimeError" and "can be differentiated once" in message


def weighted_on_rank(group, weight, z_a, z_b):
    z_a, z_b = (z.requires_grad_() for z in (z_a, z_b))
    loss = barlow_twins_terms(z_a, z_b, process_group=group)
    (weight * loss.on_diagonal if weight < 0 else weight * loss.loss).backward()
    return z_a.grad


def test_ranks_may_weight_the_loss_differently(run):
    """Every rank's loss depends on every rank's rows: the gradient is that of the ranks' losses added up."""
    z_a, z_b = views(15, 24, torch.float64)
    weights, rows = (2.0, -0.5, 0.25), (4, 5, 6)
    per_rank = [(w, *piece) for w, piece in zip(weights, split(z_a, z_b, rows), strict=True)]
    gradient = torch.cat(run(3, weighted_on_rank, per_rank=per_rank))
    z_a.requires_grad_()
    terms = barlow_twins_terms(z_a, z_b)
    (2.25 * terms.loss - 0.5 * terms.on_diagonal).backward()
    torch.testing.assert_close(gradient, z_a.grad, rtol=1e-10, atol=1e-14)


def copies_on_rank(group, z_a, z_b):
    criterion = BarlowTwinsLoss(process_group=group, lambd=0.1, gradient="divided")
    assert copy.deepcopy(criterion).process_group is group
    assert criterion.state_dict() == {}
    return criterion(z_a, z_b).item(), copy.deepcopy(criterion)(z_a, z_b).item(), repr(criterion)


def test_the_module_can_be_copied(run):
    results = run(2, copies_on_rank, per_rank=split(*views(12, 20), (5, 7)))
    for loss, of_the_copy, shown in results:
        assert loss == of_the_copy == results[0][0]
        assert shown == "BarlowTwinsLoss(lambd=0.1, process_group=2 ranks, gradient='divided')"


def test_world_is_the_default_group_when_it_is_called():
    criterion = pickle.loads(pickle.dumps(BarlowTwinsLoss(process_group="world")))
    assert repr(criterion) == "BarlowTwinsLoss(lambd=0.0051, process_group='world')"
    with pytest.raises(RuntimeError, match="not initialized"):
        criterion(*views(4, 5))


@pytest.mark.parametrize("how", [{}, {"gradient": "divided", "statistics": "local"}], ids=str)
def test_one_rank_is_one_process(run, formulation, how):
    """Bit for bit, as it does the same."""
    z_a, z_b = views(12, 20)
    options = {"formulation": formulation}
    ((loss, *gradients),) = run(1, loss_on_rank, {**options, **how}, (True, True), z_a, z_b)
    for z in (z_a, z_b):
        z.requires_grad_()
    expected = barlow_twins_loss(z_a, z_b, **options)
    expected.backward()
    assert all(map(torch.equal, (loss, *gradients), (expected, z_a.grad, z_b.grad)))


def func_grad_on_rank(group, options, z_a, z_b):
    def loss(z_a, z_b):
        return barlow_twins_loss(z_a, z_b, process_group=group, **options)

    found = torch.func.grad(loss)(z_a, z_b)
    return found, torch.autograd.grad(loss(z_a.requires_grad_(), z_b), z_a)[0]


def test_func_grad(run, formulation):
    per_rank = split(*views(12, 20), (5, 7))
    for found, expected in run(2, func_grad_on_rank, {"formulation": formulation}, per_rank=per_rank):
        assert torch.equal(found, expected)
