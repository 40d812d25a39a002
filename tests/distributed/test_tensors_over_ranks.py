"""lambd and scale as 0-d tensors over ranks: the loss and gradients of their numbers, which the ranks do not
exchange."""

import pytest
import torch

from bt_kernels import barlow_twins_loss
from tests.support.accuracy import Formula
from tests.support.distributed.on_rank import error_on_rank, loss_and_gradients
from tests.support.distributed.results import assert_all_raise, joined, split
from tests.support.inputs import views

ROWS, D = (9, 15), 20
FORMULA = Formula(lambd=0.0625, scale=1.5, output_gradients=(1.5, 0.5, 0.25))
TENSORS = {name: torch.tensor(getattr(FORMULA, name), dtype=torch.float64) for name in ("lambd", "scale")}


def test_meets_the_standard(run, yardstick, backend, formulation):
    expected = yardstick(sum(ROWS), D, torch.float32, FORMULA)
    options = {**FORMULA.options(), **TENSORS, "backend": backend, "formulation": formulation}
    rows = split(expected.z_a, expected.z_b, ROWS)
    results = run(2, loss_and_gradients, options, FORMULA.output_gradients, per_rank=rows)
    expected.check(joined(results, 2))


@pytest.mark.parametrize("statistics", ["global", "local"])
@pytest.mark.parametrize("gradient", ["whole", "divided"])
def test_is_the_loss_of_the_numbers(run, backend, formulation, gradient, statistics):
    how = {"backend": backend, "formulation": formulation, "gradient": gradient, "statistics": statistics}
    rows = split(*views(sum(ROWS), D, torch.float64), ROWS)
    for_tensors, for_numbers = (
        run(2, loss_and_gradients, {**FORMULA.options(), **how, **given}, FORMULA.output_gradients, per_rank=rows)
        for given in (TENSORS, {})
    )
    for rank in range(2):
        for found, expected in zip(for_tensors[rank], for_numbers[rank], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def loss_by_own_lambd(group, number, z_a, z_b) -> tuple[torch.Tensor, ...]:
    z_a, lambd = z_a.requires_grad_(), torch.tensor(number, dtype=torch.float64, requires_grad=True)
    barlow_twins_loss(z_a, z_b, lambd=lambd, process_group=group).backward()
    return z_a.grad, lambd.grad


def test_each_rank_s_own_number_counts_in_its_own_loss(run):
    """Nothing compares them. Rows have the gradient of all ranks' losses, lambd that of its own rank's."""
    rows = split(*views(sum(ROWS), D, torch.float64), ROWS)
    found = run(
        2, loss_by_own_lambd, per_rank=[(number, *own) for number, own in zip((0.1, 0.3), rows, strict=True)]
    )
    z_a, z_b = (torch.cat(view) for view in zip(*rows, strict=True))
    z_a, lambd = z_a.detach().requires_grad_(), torch.tensor(0.0, requires_grad=True)
    (2 * barlow_twins_loss(z_a, z_b, lambd=0.2)).backward()
    barlow_twins_loss(z_a.detach(), z_b, lambd=lambd).backward()
    torch.testing.assert_close(torch.cat([of_rows for of_rows, _ in found]), z_a.grad)
    for _, of_lambd in found:
        torch.testing.assert_close(of_lambd.float(), lambd.grad)


ODD = {
    "a tensor on one rank": (
        {"scale": torch.tensor(1.0)},
        "ValueError",
        "scale: 1.0 on rank 0, a tensor on rank 1",
    ),
    "shape": (
        {"lambd": torch.ones(1)},
        "ValueError",
        "on rank 1: lambd must be a number or a 0-d tensor, got shape",
    ),
    "device": (
        {"lambd": torch.tensor(1.0, device="meta")},
        "ValueError",
        "on rank 1: lambd must be on the CPU or, as the embeddings are, on cpu: got meta",
    ),
}


@pytest.mark.parametrize("odd, kind, message", ODD.values(), ids=ODD)
def test_what_is_wrong_on_one_rank_is_raised_on_all(run, odd, kind, message):
    per_rank = [((4, 5), torch.float32, options) for options in ({}, odd)]
    assert_all_raise(run(2, error_on_rank, per_rank=per_rank), kind, message)
