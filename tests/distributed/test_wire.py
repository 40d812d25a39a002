"""What goes over the wire, counted at torch.distributed's own calls, is what the cost model says."""

import pytest
import torch

from benchmarks.distributed.wire import counted
from bt_kernels import barlow_twins_loss
from bt_kernels.distributed.agreement import WORDS
from bt_kernels.distributed.cost import correlation_bytes, gram_bytes
from tests.support.inputs import views

CASES = [((8, 8), 64), ((5, 0, 9), 40), ((3, 4, 5, 6), 37), ((20, 9, 11), 10)]
NEEDS = [(True, True), (True, False), (False, False)]


def sent_by_rank(group, needs, options, z_a, z_b) -> float:
    """Without the agreement, which is a gather of its own."""
    z_a, z_b = (z.requires_grad_(need) for z, need in zip((z_a, z_b), needs, strict=True))
    with counted() as sent:
        loss = barlow_twins_loss(z_a, z_b, process_group=group, **options)
        if any(needs):
            loss.backward()
    assert sent.pop("all_gather") == (group.size() - 1) * 8 * WORDS
    return sum(sent.values())


@pytest.mark.covering(2)
@pytest.mark.parametrize("needs", NEEDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows, d", CASES, ids=str)
def test_bytes(run, formulation, rows, d, dtype, needs):
    z_a, z_b = views(sum(rows), d, dtype)
    per_rank = list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
    sent = run(len(rows), sent_by_rank, needs, {"formulation": formulation}, per_rank=per_rank)
    for rank, count in enumerate(sent):
        if formulation == "gram":
            assert count == pytest.approx(gram_bytes(rows, d, rank, dtype.itemsize, needs), rel=1e-12)
        else:
            assert count == pytest.approx(correlation_bytes(rows, d, dtype.itemsize, needs), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows, d", [((8, 8), 64), ((40, 40), 16)], ids=str)
def test_local_statistics_are_not_sent(run, formulation, rows, d, dtype):
    """The embeddings are standardized already, and float32."""
    z_a, z_b = views(sum(rows), d, dtype)
    per_rank = list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
    options = {"formulation": formulation, "statistics": "local"}
    sent = run(len(rows), sent_by_rank, (True, True), options, per_rank=per_rank)
    model = gram_bytes(rows, d, 0, 4) if formulation == "gram" else correlation_bytes(rows, d, 4, local=True)
    assert sent == pytest.approx([model] * len(rows), rel=1e-12)


def test_one_rank_sends_nothing(run):
    assert run(1, sent_by_rank, (True, True), {}, *views(8, 20)) == [0]


@pytest.mark.parametrize("rows, d", [((8, 8), 64), ((64, 64), 16)], ids=str)
def test_auto_takes_what_the_model_says(run, rows, d):
    z_a, z_b = views(sum(rows), d)
    per_rank = list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
    sent = run(len(rows), sent_by_rank, (True, True), {}, per_rank=per_rank)
    assert sent[0] == pytest.approx(min(gram_bytes(rows, d, 0, 4), correlation_bytes(rows, d, 4)), rel=1e-12)
