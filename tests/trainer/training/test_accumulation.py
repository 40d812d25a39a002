"""A step in chunks against the same step at once; over ranks in test_step_on_ranks.py."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.training.accumulation import forward_backward

ROWS, SIDE = 11, 8  # 3 chunks of 4, 4 and 3 rows


class TwoViews(nn.Module):
    """Both views through one network, and how often that was."""

    def __init__(self, normalisation, dropout):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), normalisation(8), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.LazyLinear(6)
        )
        self.layers(torch.zeros(2, 3, SIDE, SIDE))
        self.layers[1].reset_parameters()
        for buffer in self.layers[1].buffers():
            buffer.zero_()
        self.double()
        self.forwards = 0

    def forward(self, view_a, view_b):
        self.forwards += 1
        return self.layers(view_a), self.layers(view_b)


group_norm = partial(nn.GroupNorm, 2)
criterion = BarlowTwinsLoss().terms


def views(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(ROWS, 3, SIDE, SIDE, generator=generator, dtype=torch.float64).to(dtype) for _ in "ab"]


def step(network, chunks=3, exact=True, gradient_divisor=1.0, **options):
    calls = {
        "autocast": nullcontext,
        "scale": lambda loss: loss,
        "synchronize": lambda flag: None,
        "check": lambda result: None,
    }
    return forward_backward(
        network, criterion, *views(next(network.parameters()).dtype),
        chunks=chunks, exact=exact, gradient_divisor=gradient_divisor, **{**calls, **options},
    )  # fmt: skip


def reference(network, chunks, autocast=nullcontext):
    """The definition: all chunks, their embeddings joined, one graph."""
    a, b = (view.tensor_split(chunks) for view in views(next(network.parameters()).dtype))
    embeddings = []
    for chunk in zip(a, b, strict=True):
        with autocast():
            embeddings.append(network(*chunk))
    terms = criterion(*map(torch.cat, zip(*embeddings, strict=True)))
    terms.loss.backward()
    return terms


def check_same(network, expected, rtol=1e-12):
    for (name, p), q in zip(network.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(
            p.grad, q.grad, rtol=rtol, atol=rtol, msg=lambda text, name=name: f"{name}: {text}"
        )
    for buffer, other in zip(network.buffers(), expected.buffers(), strict=True):
        assert torch.equal(buffer, other)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_exact_is_the_batch_at_once(chunks):
    network, expected = TwoViews(group_norm, dropout=0.0), TwoViews(group_norm, dropout=0.0)
    result, terms = step(network, chunks), reference(expected, 1)
    check_same(network, expected)
    torch.testing.assert_close(
        [result.loss, result.on_diagonal, result.off_diagonal], [t.detach() for t in terms], rtol=1e-12, atol=0
    )
    torch.testing.assert_close([result.z_a, result.z_b], [z.detach() for z in expected(*views())])
    assert not any(getattr(result, name).requires_grad for name in vars(result))
    assert network.forwards == (1 if chunks == 1 else 2 * chunks)


@pytest.mark.parametrize("normalisation", [group_norm, nn.BatchNorm2d])
def test_second_pass_repeats_the_first_and_leaves_what_one_pass_leaves(normalisation):
    network, expected = TwoViews(normalisation, dropout=0.5), TwoViews(normalisation, dropout=0.5)
    torch.manual_seed(2)
    result = step(network)
    after = torch.get_rng_state()
    torch.manual_seed(2)
    terms = reference(expected, 3)
    assert torch.equal(after, torch.get_rng_state())
    torch.testing.assert_close(result.loss, terms.loss.detach(), rtol=1e-12, atol=0)
    check_same(network, expected)
    assert normalisation is group_norm or network.layers[1].num_batches_tracked == 6


def test_ordinary_is_the_mean_of_the_chunks_losses():
    network, expected = TwoViews(nn.BatchNorm2d, dropout=0.0), TwoViews(nn.BatchNorm2d, dropout=0.0)
    result = step(network, exact=False)
    parts = [
        criterion(*expected(*chunk)) for chunk in zip(*(view.tensor_split(3) for view in views()), strict=True)
    ]
    means = [torch.stack(terms).mean() for terms in zip(*parts, strict=True)]
    means[0].backward()
    check_same(network, expected)
    torch.testing.assert_close(
        [result.loss, result.on_diagonal, result.off_diagonal],
        [mean.detach() for mean in means],
        rtol=1e-12,
        atol=0,
    )
    assert result.z_a.shape == (ROWS, 6) and network.forwards == 3


@pytest.mark.parametrize(("chunks", "exact"), [(1, True), (3, True), (3, False)])
def test_divisor_and_scale_act_on_the_gradient_alone(chunks, exact):
    plain, scaled = TwoViews(group_norm, dropout=0.0), TwoViews(group_norm, dropout=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    losses = (
        step(plain, chunks, exact).loss,
        step(scaled, chunks, exact, gradient_divisor=4.0, scale=scaler.scale).loss,
    )
    assert losses[0] == losses[1]
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.equal(q.grad, p.grad * 2**10)
    optimizer = torch.optim.SGD(scaled.parameters(), lr=1.0)
    before = [q.detach().clone() for q in scaled.parameters()]
    scaler.step(optimizer)
    for p, q, start in zip(plain.parameters(), scaled.parameters(), before, strict=True):
        torch.testing.assert_close(q.detach(), start - p.grad / 4, rtol=1e-12, atol=1e-14)


def test_exact_under_autocast():
    autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    network, expected = TwoViews(group_norm, dropout=0.5).float(), TwoViews(group_norm, dropout=0.5).float()
    torch.manual_seed(2)
    result = step(network, autocast=autocast)
    torch.manual_seed(2)
    terms = reference(expected, 3, autocast)
    assert result.z_a.dtype == torch.bfloat16 and result.loss == terms.loss
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())
    check_same(network, expected, rtol=1e-5)  # the same 16-bit products, added up in another order


@pytest.mark.parametrize(("chunks", "exact", "checked"), [(1, True, 1), (3, True, 1), (3, False, 3)])
def test_check_comes_before_the_gradients(chunks, exact, checked):
    network = TwoViews(nn.BatchNorm2d, dropout=0.0)
    seen = []
    step(network, chunks, exact, check=seen.append)
    assert len(seen) == checked and len(seen[0].z_a) == (ROWS if exact else 4)

    def refuse(result):
        raise ArithmeticError

    network.zero_grad()
    with pytest.raises(ArithmeticError):
        step(network, chunks, exact, check=refuse)
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(("chunks", "exact"), [(1, True), (1, False), (3, True), (3, False)])
def test_only_the_last_chunk_synchronizes(chunks, exact):
    network = TwoViews(group_norm, dropout=0.0)
    calls = []
    step(network, chunks, exact, synchronize=lambda flag: calls.append((flag, network.forwards)))
    first = chunks if exact and chunks > 1 else 0  # forwards without a graph
    assert calls == [(index == chunks - 1, first + index) for index in range(chunks)]
