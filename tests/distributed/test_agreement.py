"""Ranks that do not fit together all raise the same sentence, at once; nothing waits for a time-out."""

from datetime import timedelta
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from bt_kernels import barlow_twins_loss
from bt_kernels.backends import cpu, precise_sums
from bt_kernels.backends.stages import Availability
from bt_kernels.distributed.agreement import FIELDS, describe
from bt_kernels.distributed.group import control_group, ranks_of
from bt_kernels.distributed.options import DistributedOptions
from bt_kernels.options import LossOptions
from tests.support.distributed.on_rank import call, error_of, error_on_rank
from tests.support.distributed.results import assert_all_raise
from tests.support.inputs import views

FLOAT32 = torch.float32
# What differs on rank 1 of 3: shape, dtype and options; the error that all three raise.
DIFFERENCES = {
    "D": (
        ((4, 6), FLOAT32, {}),
        "ValueError",
        "the ranks disagree about the number of features D: 5 on rank 0, 6 on",
    ),
    "dtype": (
        ((4, 5), torch.bfloat16, {}),
        "ValueError",
        "the embeddings' dtype: torch.float32 on rank 0, torch.bf",
    ),
    "lambd": (((4, 5), FLOAT32, {"lambd": 0.1}), "ValueError", "lambd: 0.0051 on rank 0, 0.1 on rank 1"),
    "scale": (((4, 5), FLOAT32, {"scale": 2}), "ValueError", "scale: 1.0 on rank 0, 2.0 on rank 1"),
    "eps": (((4, 5), FLOAT32, {"eps": 0.0}), "ValueError", "eps: 1e-05 on rank 0, 0.0 on rank 1"),
    "unbiased": (((4, 5), FLOAT32, {"unbiased": True}), "ValueError", "unbiased: False on rank 0, True on rank 1"),
    "formulation": (
        ((4, 5), FLOAT32, {"formulation": "gram"}),
        "ValueError",
        "formulation: auto on rank 0, gram on",
    ),
    "backend": (((4, 5), FLOAT32, {"backend": "eager"}), "ValueError", "backend: auto on rank 0, eager on rank 1"),
    "gradient": (
        ((4, 5), FLOAT32, {"gradient": "divided"}),
        "ValueError",
        "gradient: whole on rank 0, divided on",
    ),
    "statistics": (
        ((4, 5), FLOAT32, {"statistics": "local"}),
        "ValueError",
        "statistics: global on rank 0, local on",
    ),
    "rank of z": (((4, 5, 1), FLOAT32, {}), "ValueError", "on rank 1: z_a must have shape (N, D), got (4, 5, 1)"),
    "an integer": (((4, 5), torch.int32, {}), "TypeError", "on rank 1: z_a must be float64, float32, bfloat16 or"),
    "a backend": (
        ((4, 5), FLOAT32, {"backend": "cuda"}),
        "RuntimeError",
        "on rank 1: backend 'cuda' cannot run on",
    ),
}


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


def call_without_grad(group, odd) -> torch.Tensor:
    with torch.set_grad_enabled(not odd):
        return call(group, (4, 5), FLOAT32, {})


def error_without_grad(group, odd) -> tuple[str, str]:
    return error_of(call_without_grad, group, odd)


def test_no_grad_on_one_rank(run):
    results = run(2, error_without_grad, per_rank=[(False,), (True,)])
    assert_all_raise(results, "ValueError", "whether z_a needs a gradient: True on rank 0, False on rank 1")


@pytest.mark.parametrize(
    "odd, kind, message",
    [
        ({"lambd": -1.0}, "ValueError", "on rank 1: lambd must be >= 0, got -1.0"),
        ({"gradient": "half"}, "ValueError", "on rank 1: gradient must be one of whole, divided; got 'half'"),
        ({"unbiased": 1}, "TypeError", "on rank 1: unbiased must be True or False, got 1"),
    ],
    ids=str,
)
def test_an_option_that_is_wrong_on_one_rank(run, odd, kind, message):
    per_rank = [((4, 5), FLOAT32, options) for options in ({}, odd)]
    assert_all_raise(run(2, error_on_rank, per_rank=per_rank), kind, message)


def error_of_a_driver(group, broken) -> tuple[str, str]:
    """Of a kind that nobody foresaw."""
    with mock.patch.object(
        cpu.BACKEND, "availability", side_effect=OSError("no driver") if broken else None
    ) as availability:
        availability.return_value = Availability(True, "")
        return error_on_rank(group, (4, 5), FLOAT32, {})


def test_an_error_of_any_kind_is_everyones(run):
    results = run(2, error_of_a_driver, per_rank=[(False,), (True,)])
    assert_all_raise(results, "RuntimeError", "on rank 1: OSError: no driver")


def error_without_float64(group) -> tuple[str, str]:
    with mock.patch.dict(precise_sums.KNOWN, {"cpu": False}):
        return error_on_rank(group, (4, 5), FLOAT32, {"backend": "eager"})


def test_a_device_without_float64(run):
    message = "on rank 0: a process_group needs sums in float64, and there is none on cpu"
    assert_all_raise(run(2, error_without_float64), "RuntimeError", message)


def test_the_device_type_is_part_of_it():
    z = torch.ones(4, 5, device="meta")
    row = describe(z, z, LossOptions(), DistributedOptions())
    column = 2 + [field.name for field in FIELDS].index("the embeddings' device type")
    assert FIELDS[column - 2].show(row[column]) == "meta"


def error_beside_another_default_device(group) -> float:
    z_a, z_b = views(4, 5)
    with torch.device("meta"):
        loss = barlow_twins_loss(z_a, z_b, process_group=group)
    return loss.item()


def test_the_default_device_does_not_matter(run):
    first, second = run(2, error_beside_another_default_device)
    assert first == second


def groups_that_take_no_tensors_of_the_cpu(group) -> tuple[str, list[bool]]:
    """As NCCL's do not: one of all processes, one of some."""
    of_all, of_some = (dist.new_group(members, backend="cuda:gloo") for members in ([0, 1, 2, 3], [0, 2]))
    ranks = ranks_of(of_all)
    beside = control_group(ranks)
    facts = [
        beside.device.type == "cpu" and dist.get_backend_config(beside.group) == "cpu:gloo,cuda:gloo",
        beside == control_group(ranks),
        control_group(ranks_of(group)) == (group, torch.device("cpu")),
        ranks.rank % 2 == 1 or control_group(ranks_of(of_some)) == (of_some, torch.device("cuda")),
    ]
    return error_on_rank(of_all, (4, 5 + ranks.rank), FLOAT32, {})[1], facts


def test_shapes_go_through_the_cpu(run):
    for message, facts in run(4, groups_that_take_no_tensors_of_the_cpu):
        assert "number of features D: 5 on rank 0, 6 on rank 1" in message
        assert all(facts), facts


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


def error_of_the_only_one(group) -> str | None:
    """Rank 1 has no rows left, and does not call the loss: as within DistributedDataParallel.join()."""
    impatient = dist.new_group([0, 1], timeout=timedelta(seconds=1))
    return error_on_rank(impatient, (4, 5), FLOAT32, {}) if dist.get_rank() == 0 else None


def test_a_rank_that_does_not_call_the_loss(run):
    (kind, message), *_ = run(4, error_of_the_only_one)
    assert kind == "RuntimeError" and "not all 2 ranks of its process_group did" in message
    assert "with (0, D) embeddings" in message


def call_with_another_group(group) -> tuple[str, str] | None:
    """Rank 0 alone is in the group."""
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
