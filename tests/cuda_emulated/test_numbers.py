"""Conversions of the emulated GPU's 16-bit types against torch's."""

import pytest
import torch

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
NAN = 0x7FFF


@pytest.mark.parametrize(("name", "dtype"), TYPES.items())
def test_all_16_bit_numbers_widen_exactly(gpu, name, dtype):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    out = torch.empty(2**16)
    assert getattr(gpu, f"widen_{name}")(bits, out, 2**16) == 0
    expected = bits.view(dtype).float()
    nan = expected.isnan()
    assert torch.equal(out.isnan(), nan)
    assert torch.equal(out.view(torch.int32)[~nan], expected.view(torch.int32)[~nan])
    back = torch.empty_like(bits)
    assert getattr(gpu, f"round_{name}")(out, back, 2**16) == 0
    assert torch.equal(back[~nan], bits[~nan]) and (back[nan] == NAN).all()


@pytest.mark.parametrize(("name", "dtype"), TYPES.items())
def test_float32_rounds_to_nearest_even(gpu, name, dtype):
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(-(2**31), 2**31, (2**21,), generator=generator, dtype=torch.int32)
    # Where rounding decides: all 16-bit numbers, the midpoints between them, and one bit to either side.
    small = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype).float().view(torch.int32)
    half = 1 << (15 if dtype == torch.bfloat16 else 12)
    near = torch.cat([small + offset for offset in (0, 1, -1, half, half + 1, half - 1)])
    subnormal = torch.linspace(0, 2**-13, 2**19).view(torch.int32)
    numbers = torch.cat([patterns, near, subnormal]).view(torch.float32)
    out = torch.empty(numbers.shape, dtype=torch.int16)
    assert getattr(gpu, f"round_{name}")(numbers, out, numbers.numel()) == 0
    nan = numbers.isnan()
    assert torch.equal(out[~nan], numbers.to(dtype).view(torch.int16)[~nan])
    assert (out[nan] == NAN).all()


@pytest.mark.parametrize(("name", "dtype"), TYPES.items())
def test_pairs(gpu, name, dtype):
    numbers = torch.randn(64, 2)
    packed, out = torch.empty(64, dtype=torch.int32), torch.empty(64, 2)
    assert getattr(gpu, f"pack_{name}")(numbers, packed, out, 64) == 0
    assert torch.equal(packed.view(dtype).view(64, 2), numbers.to(dtype))
    assert torch.equal(out, numbers.to(dtype).float())
