"""The emulated GPU's threads and memory: that instructions do what they should, and that mistakes are found."""

import pytest
import torch

from tests.cuda_emulated.emulated_gpu import CROSSED, EARLY, LATE, RANDOM

INVALID_VALUE, INVALID_CONFIGURATION = 1, 9


def test_shuffles_and_block_barriers(any_order):
    numbers = torch.arange(5 * 96, dtype=torch.float64)
    out = torch.full((5 * 96, 2), torch.nan, dtype=torch.float64)
    assert any_order.sums(numbers, out, 5, 96) == 0
    assert torch.equal(out[:, 0], numbers.view(-1, 32).sum(1).repeat_interleave(32))
    assert torch.equal(out[:, 1], numbers.view(-1, 96).sum(1).repeat_interleave(96))


def test_named_barriers(any_order):
    out = torch.full((128,), -1, dtype=torch.int32)
    assert any_order.halves(out, 128, 3) == 0
    expected = (1000 + 2000) + 3 * torch.arange(63, -1, -1, dtype=torch.int32)
    assert torch.equal(out, torch.cat([torch.zeros(64, dtype=torch.int32), expected.to(torch.int32)]))


@pytest.mark.parametrize("cluster", [1, 2, 3, 16])
def test_shared_memory_of_the_cluster(any_order, cluster):
    values = torch.rand(2 * cluster, 64)
    out = values.clone()
    assert any_order.neighbours(out, 2 * cluster, 64, cluster, True) == 0
    assert torch.equal(out, values + values.view(2, cluster, 64).roll(-1, 1).view(-1, 64))


def test_a_block_that_returns_while_others_read_it(gpu):
    for mode in (EARLY, LATE, RANDOM):
        gpu.bt_emulated_asynchrony(mode)
        message = gpu.message_of(gpu.neighbours(torch.rand(4, 64), 4, 64, 4, False))
        assert "load_cluster: block" in message and "has returned" in message


def test_all_blocks_run(any_order):
    counter, last = torch.zeros(1, dtype=torch.int32), torch.full((1,), -1, dtype=torch.int32)
    assert any_order.count(counter, last, 999) == 0
    assert counter.item() == 999 and 0 <= last.item() < 999


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (0, "block 0 threads 0-31 wait in sync_block; block 0 threads 32-63 wait in sync_threads(3, 64)"),
        (1, "divergent warp: it is in s"),
        (2, "the block wrote beyond its 256 bytes of shared memory"),
        (3, "the block wrote before its shared memory"),
        (4, "sync_threads(1, "),
        (5, "cluster_wait without cluster_arrive"),
        (6, "threads 6-31 wait in shuffle; block 0 threads 32-63 returned"),
    ],
)
def test_mistakes_are_named(any_order, what, message):
    assert message in any_order.message_of(any_order.mistaken(what, 1, 64, 256, 1, False))


def test_stacks_that_do_not_suffice_are_named(gpu):
    assert "its stack of 262144 bytes does not suffice" in gpu.message_of(gpu.big())


def test_launches_are_checked(gpu):
    good = (99, 8, 64, 256, 4, False)
    assert gpu.mistaken(*good) == 0
    assert gpu.mistaken(99, 8, 64, 232449, 4, False) == INVALID_VALUE
    assert gpu.mistaken(99, 6, 64, 256, 4, False) == INVALID_CONFIGURATION
    assert gpu.mistaken(99, 8, 1025, 256, 4, False) == INVALID_CONFIGURATION
    assert gpu.mistaken(99, 0, 64, 256, 1, False) == INVALID_CONFIGURATION
    gpu.bt_emulated_gpu(80, 4, 101376, 1)
    assert gpu.mistaken(99, 8, 64, 101377, 1, False) == INVALID_VALUE
    assert gpu.mistaken(*good) == INVALID_CONFIGURATION


def test_a_dependent_kernel_waits_for_the_one_before(gpu):
    numbers = torch.rand(4)
    assert "without wait_for_previous_grid" in gpu.message_of(gpu.mistaken(99, 1, 64, 0, 1, True))
    assert "copy_async_16 before wait_for_previous_grid" in gpu.message_of(gpu.hasty(numbers, True))
    assert gpu.hasty(numbers, False) == 0
    gpu.bt_emulated_gpu(80, 4, 101376, 1)  # has no dependent launch
    assert gpu.hasty(numbers, True) == INVALID_VALUE


def test_copies_fill_with_zeros(any_order):
    numbers, out = torch.rand(17, 4), torch.full((17, 4), torch.nan)
    count = torch.arange(17, dtype=torch.int32)
    assert any_order.zero_fill(numbers, out, count, 17, 0) == 0
    expected = numbers.clone().view(torch.uint8)
    expected[torch.arange(16) >= count[:, None]] = 0
    assert torch.equal(out.view(torch.uint8), expected)


def test_copies_are_checked(gpu):
    numbers, out = torch.rand(33, 4), torch.empty(32, 4)
    count = torch.full((32,), 16, dtype=torch.int32)
    assert "no multiple of 16" in gpu.message_of(gpu.zero_fill(numbers, out, count, 32, 1))
    assert "copy_async_16 of 17 bytes" in gpu.message_of(gpu.zero_fill(numbers, out, count + 1, 32, 0))


NO_MISTAKE, NO_WAIT, NO_BARRIER_BEFORE, NO_BARRIER_AFTER = range(4)


def pipeline_is_right(gpu, mistake: int) -> bool:
    numbers, out = torch.rand(9, 64, 4), torch.empty(64, 4)
    assert gpu.pipeline(numbers, out, 9, mistake) == 0
    return torch.allclose(out, numbers.flip(1).sum(0))


def test_a_pipeline_of_copies(any_order):
    assert pipeline_is_right(any_order, NO_MISTAKE)


@pytest.mark.parametrize("mistake", [NO_WAIT, NO_BARRIER_BEFORE, NO_BARRIER_AFTER])
def test_mistakes_in_a_pipeline_give_wrong_numbers(gpu, mistake):
    right = {}
    for mode in (EARLY, LATE, RANDOM, CROSSED, *range(4, 12)):
        gpu.bt_emulated_asynchrony(mode)
        right[mode] = pipeline_is_right(gpu, mistake)
    expected = {NO_WAIT: LATE, NO_BARRIER_BEFORE: LATE, NO_BARRIER_AFTER: EARLY}[mistake]
    assert not right[expected]
    assert not any(right[seed] for seed in (RANDOM, *range(4, 12)))
