"""Ranks that do not fit together all raise the same sentence, at once; nothing waits for a time-out."""

import pytest
import torch
from on_rank import error_of

from bt_kernels import barlow_twins_loss
from bt_kernels.distributed.options import DistributedOptions

FLOAT32 = torch.float32
# What differs on rank 1 of 3: shape, dtype and options; the error that all three raise.
DIFFERENCES = {
    "D": (((4, 6), FLOAT32, {}), "ValueError", "the ranks disagree about the number of features D: 5 on rank 0, 6 on"),
    "dtype": (((4, 5), torch.bfloat16, {}), "ValueError", "the embeddings' dtype: torch.float32 on rank 0, torch.bf"),
    "lambd": (((4, 5), FLOAT32, {"lambd": 0.1}), "ValueError", "lambd: 0.0051 on rank 0, 0.1 on rank 1"),
    "scale": (((4, 5), FLOAT32, {"scale": 2}), "ValueError", "scale: 1.0 on rank 0, 2.0 on rank 1"),
    "eps": (((4, 5), FLOAT32, {"eps": 0.0}), "ValueError", "eps: 1e-05 on rank 0, 0.0 on rank 1"),
    "unbiased": (((4, 5), FLOAT32, {"unbiased": True}), "ValueError", "unbiased: False on rank 0, True on rank 1"),
    "formulation": (((4, 5), FLOAT32, {"formulation": "gram"}), "ValueError", "formulation: auto on rank 0, gram on"),
    "backend": (((4, 5), FLOAT32, {"backend": "eager"}), "ValueError", "backend: auto on rank 0, eager on rank 1"),
    "gradient": (((4, 5), FLOAT32, {"gradient": "divided"}), "ValueError", "gradient: whole on rank 0, divided on"),
    "statistics": (((4, 5), FLOAT32, {"statistics": "local"}), "ValueError", "statistics: global on rank 0, local on"),
    "rank of z": (((4, 5, 1), FLOAT32, {}), "ValueError", "on rank 1: z_a must have shape (N, D), got (4, 5, 1)"),
    "an integer": (((4, 5), torch.int32, {}), "TypeError", "on rank 1: z_a must be float64, float32, bfloat16 or"),
    "a backend": (((4, 5), FLOAT32, {"backend": "cuda"}), "RuntimeError", "on rank 1: backend 'cuda' cannot run on"),
}


def call(group, shape, dtype, options, requires_grad=(True, True)) -> torch.Tensor:
    z_a, z_b = (torch.ones(shape, dtype=dtype) for _ in range(2))
    for z, needed in zip((z_a, z_b), requires_grad, strict=True):
        z.requires_grad_(needed and dtype.is_floating_point)
    return barlow_twins_loss(z_a, z_b, process_group=group, **options)


def error_on_rank(group, *arguments) -> tuple[str, str]:
    return error_of(call, group, *arguments)


def assert_all_raise(results, kind: str, message: str) -> None:
    assert {result for result in results} == {results[0]}
    assert results[0][0] == kind and message in results[0][1]


@pytest.mark.parametrize("odd, kind, message", DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference(run, odd, kind, message):
    usual = ((4, 5), FLOAT32, {})
    assert_all_raise(run(3, error_on_rank, per_rank=[usual, odd, usual]), kind, message)


@pytest.mark.parametrize("view", ["z_a", "z_b"])
def test_a_gradient_that_one_rank_does_not_want(run, view):
    """It would not take part in the backward, and the others would wait for it."""
    usual = ((4, 5), FLOAT32, {}, (True, True))
    odd = ((4, 5), FLOAT32, {}, (view != "z_a", view != "z_b"))
    results = run(2, error_on_rank, per_rank=[usual, odd])
    assert_all_raise(results, "ValueError", f"whether {view} needs a gradient: True on rank 0, False on rank 1")


@pytest.mark.parametrize(
    "rows, options, message",
    [
        ((0, 1, 0), {}, "need N >= 2 samples, and all 3 ranks have 1"),
        ((4, 1, 4), {"statistics": "local"}, "at least 2 samples on every rank: rank 1 has 1"),
    ],
    ids=str,
)
def test_too_few_samples(run, rows, options, message):
    per_rank = [((n, 5), FLOAT32, options) for n in rows]
    assert_all_raise(run(3, error_on_rank, per_rank=per_rank), "ValueError", message)


def test_the_first_error_is_the_one_that_is_raised(run):
    odd = [((4, 5), torch.int32, {}), ((4, 5, 1), FLOAT32, {})]
    assert_all_raise(run(2, error_on_rank, per_rank=odd), "TypeError", "on rank 0: z_a must be float64")


def call_after_an_error(group, *arguments) -> float:
    error_of(call, group, *arguments)
    return call(group, (4, 5), FLOAT32, {}).item()


def test_the_next_call_is_undisturbed(run):
    per_rank = [((4, 5), FLOAT32, {}), ((4, 6), FLOAT32, {})]
    first, second = run(2, call_after_an_error, per_rank=per_rank)
    assert first == second


def call_with_another_group(group) -> tuple[str, str] | None:
    """Rank 0 alone is in the group."""
    import torch.distributed as dist

    alone = dist.new_group([0])
    return error_of(call, alone, (4, 5), FLOAT32, {}) if dist.get_rank() else None


def test_a_process_that_is_not_in_the_group(run):
    """new_group gives it a number in the group's place."""
    _, *errors = run(4, call_with_another_group)
    assert set(errors) == {errors[0]}
    assert errors[0][0] == "TypeError" and "this process is not in it" in errors[0][1]


def test_without_torch_distributed():
    with pytest.raises(RuntimeError, match="torch.distributed is not initialized: call"):
        call("world", (4, 5), FLOAT32, {})


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"process_group": "all"}, ValueError, "process_group must be"),
        ({"process_group": 3}, TypeError, "process_group must be .* got int"),
        ({"gradient": "half"}, ValueError, "gradient must be one of whole, divided"),
        ({"gradient": None}, TypeError, "gradient must be a str"),
        ({"statistics": "batch"}, ValueError, "statistics must be one of global, local"),
    ],
    ids=str,
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        DistributedOptions(**options)
