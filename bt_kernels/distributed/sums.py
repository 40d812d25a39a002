"""Float64 sums on a float32 wire, in the matrices' message: two floats each, and nothing lost on the way.

The sums are at most 4 D, all ranks' together too. The first float is rounded to a grid of 4 D / 2^23 or finer:
such numbers, and their sums, are float32 exactly, in whatever order they are added. The second is what is left, at
most half a step of the grid; what rounding it and adding W of them up costs is about 2^-50 W of 4 D.
"""

import torch
from torch import Tensor

MANTISSA = 23


def grid(d: int) -> float:
    return 2.0 ** ((4 * d - 1).bit_length() - MANTISSA)


def encode(sums: Tensor, d: int) -> Tensor:  # (count,) float64, each between 0 and 4 d -> (2 count,) float64
    coarse = torch.round(sums / grid(d)) * grid(d)
    return torch.cat([coarse, sums - coarse])


def decode(message: Tensor) -> Tensor:  # (2 count,) -> (count,) float64
    coarse, rest = message.double().chunk(2)
    return coarse + rest
