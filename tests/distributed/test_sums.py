"""Float64 sums through a float32 message."""

import pytest
import torch

from bt_kernels.distributed.sums import decode, encode


@pytest.mark.parametrize("d", [1, 2, 3, 8192, 1_000_003])
@pytest.mark.parametrize("world", [1, 3, 1024])
def test_added_up_in_float32_they_lose_next_to_nothing(world, d):
    generator = torch.Generator().manual_seed(world + d)
    sums = torch.rand(world, 4, generator=generator, dtype=torch.float64) * 4 * d / world
    sums[0, 0] = 0
    message = sum(encode(rank, d).float() for rank in sums)
    error = (decode(message) - sums.sum(0)).abs().max().item()
    assert error <= 4 * d * world * 2.0**-47
    assert torch.equal(message.chunk(2)[0], sum(encode(rank, d).float() for rank in sums.flip(0)).chunk(2)[0])


def test_plain_float32_does_not():
    """What the two floats are for: the sum of C_ii^2 is subtracted from a number of its size."""
    sums = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 8192 / 64
    assert abs(sum(x.float() for x in sums).double() - sums.sum()) > 8192 * 2.0**-30


def test_nan_arrives():
    sums = torch.tensor([1.0, float("nan"), float("inf"), 2.0], dtype=torch.float64)
    assert decode(encode(sums, 8).float()).isnan().tolist() == [False, True, True, False]
