"""The cross-correlation matrix for people to look at: whole, and in blocks of rows."""

import pytest
import torch

from bt_kernels import barlow_twins_terms, cross_correlation, cross_correlation_blocks
from tests.support.inputs import DTYPES, views
from tests.support.official import standardize
from tests.support.target import device

pytestmark = pytest.mark.runs_on("cpu", "cuda")


def true_c(z_a, z_b, eps=1e-5, unbiased=False):
    y_a, y_b = (standardize(z.double(), eps, unbiased) for z in (z_a, z_b))
    return y_a.T @ y_b / z_a.shape[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 1), (9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("options", [{}, {"eps": 0.1, "unbiased": True}], ids=str)
def test_is_c(options, shape, dtype):
    z_a, z_b = views(*shape, dtype)
    c = cross_correlation(z_a, z_b, **options)
    assert c.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # Each entry is a mean of N products of standardized numbers: at most 1, each with a few roundings.
    error = (c.double() - true_c(z_a, z_b, **options)).abs().max()
    assert error <= 16 * torch.finfo(c.dtype).eps


def test_is_what_the_loss_sums():
    z_a, z_b = views(9, 40, torch.float64)
    c = cross_correlation(z_a, z_b)
    terms = barlow_twins_terms(z_a, z_b)
    diagonal = torch.diagonal(c)
    torch.testing.assert_close((1 - diagonal).pow(2).sum(), terms.on_diagonal, rtol=1e-13, atol=0)
    torch.testing.assert_close(c.pow(2).sum() - diagonal.pow(2).sum(), terms.off_diagonal, rtol=1e-13, atol=0)


@pytest.mark.parametrize("rows, sizes", [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_blocks_are_rows_of_c(rows, sizes):
    z_a, z_b = views(5, 7, torch.float64)
    blocks = list(cross_correlation_blocks(z_a, z_b, rows=rows))
    assert [len(block) for block in blocks] == sizes
    torch.testing.assert_close(torch.cat(blocks), true_c(z_a, z_b), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("rows, error", [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_bad_rows_are_refused_at_the_call(rows, error):
    z_a, z_b = views(5, 7)
    with pytest.raises(error, match="rows must be"):
        cross_correlation_blocks(z_a, z_b, rows=rows)


def test_bad_options_are_refused_at_the_call():
    z_a, z_b = views(5, 7)
    with pytest.raises(ValueError, match="eps must be >= 0"):
        cross_correlation_blocks(z_a, z_b, eps=-1.0)


def test_takes_no_part_in_autograd():
    z_a, z_b = (z.requires_grad_() for z in views(5, 7))
    assert not cross_correlation(z_a, z_b).requires_grad
    for block in cross_correlation_blocks(z_a, z_b, rows=3):
        assert not block.requires_grad
        assert torch.is_grad_enabled()  # the caller's grad mode is its own between the blocks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_does_not_round_it(dtype):
    z_a, z_b = views(9, 40)
    plain = cross_correlation(z_a, z_b)
    with torch.autocast(device().type, dtype):
        assert torch.equal(cross_correlation(z_a, z_b), plain)
        blocks = []
        for block in cross_correlation_blocks(z_a, z_b, rows=16):
            blocks.append(block)
            assert torch.is_autocast_enabled(device().type)
    torch.testing.assert_close(torch.cat(blocks), plain)
