"""bfloat16 in Triton's interpreter, as interpreter_bf16.py makes it, against torch."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton
import triton.language as tl

pytestmark = pytest.mark.runs_on("interpreter")

SIZE = 4096


def patterns() -> torch.Tensor:
    """(16, SIZE) every bfloat16, Inf and NaN included."""
    return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).view(-1, SIZE)


def same(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """The same bits, but that one NaN is as good as another."""
    integers = {2: torch.int16, 4: torch.int32}[expected.element_size()]
    alike = (actual.view(integers) == expected.view(integers)) | (actual.isnan() & expected.isnan())
    return actual.dtype == expected.dtype and bool(alike.all())


@triton.jit
def cast_kernel(x, out, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tl.store(out + index, tl.load(x + index).to(out.dtype.element_ty))


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    out = torch.empty(x.shape, dtype=dtype)
    cast_kernel[(1,)](x, out, SIZE=x.numel())
    return out


def test_casts_round_to_nearest_even():
    neighbours = patterns().float().view(torch.int32)
    for row in neighbours:
        # Just below, at and just above half of the way to the next bfloat16, and the number itself.
        for offset in (0, 0x7FFF, 0x8000, 0x8001):
            x = (row + offset).view(torch.float32)
            assert same(cast(x, torch.bfloat16), x.to(torch.bfloat16))


def test_casts_from_other_types():
    x = torch.linspace(-70000, 70000, SIZE, dtype=torch.float64)
    for dtype in (torch.float16, torch.int32, torch.float32):
        assert same(cast(x.to(dtype), torch.bfloat16), x.to(dtype).to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_casts_to_other_types(dtype):
    """To bfloat16 itself: loads and stores, which leave every pattern as it is."""
    for row in patterns():
        assert same(cast(row, dtype), row.to(dtype))


@triton.jit
def arithmetic_kernel(x, y, sums, quotients, negatives, less, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    a, b = tl.load(x + index), tl.load(y + index)
    tl.store(sums + index, a * b + 1.5)
    tl.store(quotients + index, a / b)
    tl.store(negatives + index, tl.where(a < b, -a, tl.abs(b)))
    tl.store(less + index, a < b)


def test_arithmetic():
    """Each operation is rounded for itself: a * b + 1.5 twice."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIZE, generator=generator).to(torch.bfloat16) for _ in range(2))
    sums, quotients, negatives = (torch.empty_like(a) for _ in range(3))
    less = torch.empty(SIZE, dtype=torch.int8)
    arithmetic_kernel[(1,)](a, b, sums, quotients, negatives, less, SIZE=SIZE)
    assert same(sums, a * b + 1.5)
    assert same(quotients, a / b)
    assert same(negatives, torch.where(a < b, -a, b.abs()))
    assert torch.equal(less.bool(), a < b)


@triton.jit
def dot_kernel(x, y, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(x + rows[:, None] * K + inner[None, :])
    b = tl.load(y + inner[:, None] * N + columns[None, :])
    start = tl.full((M, N), 0.25, tl.float32)
    tl.store(out + rows[:, None] * N + columns[None, :], tl.dot(a, b, start))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_dot_accumulates_in_float32(dtype):
    """Small whole numbers, for which every sum is exact."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-8, 9, size, generator=generator).to(dtype) for size in ((16, 64), (64, 32)))
    out = torch.empty(16, 32)
    dot_kernel[(1,)](a, b, out, M=16, N=32, K=64)
    assert torch.equal(out, a.float() @ b.float() + 0.25)


@triton.jit
def masked_kernel(x, out, count, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tl.store(out + index, tl.load(x + index, index < count, 2.5), index < 2 * count)


def test_masks():
    x, out = patterns()[3], torch.full((SIZE,), -1.0).to(torch.bfloat16)
    masked_kernel[(1,)](x, out, 1000, SIZE=SIZE)
    assert torch.equal(out[:1000], x[:1000])
    assert (out[1000:2000] == 2.5).all() and (out[2000:] == -1).all()
