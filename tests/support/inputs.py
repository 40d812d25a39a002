"""Embeddings to test with, the same on every run."""

import torch
from torch import Tensor

from tests.support.target import device, few

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

# N < D, N = D and N > D; odd; smaller than a vector register, a panel, a triangle block and a mirror tile, and a
# little more than several of them (csrc/cpu/schedule.h). Where D / N is below the number of threads the Gram
# matrix is computed with all threads on one panel, elsewhere with panels and a partial sum for each thread; below
# 32768 numbers one thread does it all.
SHAPES = (
    (2, 1),
    (2, 5),
    (3, 2),
    (7, 3),
    (3, 17),
    (16, 16),
    (33, 15),
    (31, 65),
    (40, 1030),
    (150, 300),
    (97, 130),
    (97, 31),
    (190, 191),
    (257, 64),
)
# Threads that share panels of 1024 columns need a second one, panels of the least width a third one.
LARGE = (((530, 1050), torch.float64), ((2100, 300), torch.float32))
# Where kernels for GPUs run on a CPU: less than the least number of rows, whole tiles and tails
# (triton/heuristics.py), one and several tiles of K and of C, one and several splits of the features and of the
# batch; more: test_triton_paths.py and test_cuda_paths.py.
INTERPRETED = (
    *((2, 1), (3, 2), (3, 17), (16, 16), (31, 65)),
    *((64, 64), (33, 15), (97, 130), (97, 31), (130, 66)),
)
SHAPES = few(SHAPES, INTERPRETED)
LARGE = few(LARGE, (((530, 66), torch.float32),))
SMALL_SHAPES = ((5, 9), (9, 9), (13, 6))


def views(n: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that agree in part, (N, D) each; every feature has a mean and a spread of its own.

    Made on the CPU, so that they are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = normal(n, d)
    spread, mean = 0.5 + torch.rand(2, 1, d, generator=generator, dtype=torch.float64), normal(2, 1, d)
    z_a, z_b = (spread[i] * (shared + 0.7 * normal(n, d)) + mean[i] for i in range(2))
    return z_a.to(dtype).to(device()), z_b.to(dtype).to(device())


def whole_numbers(n: int, d: int, bits: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two views that agree in part, (N, D) each, of whole numbers below 2^bits."""
    z = torch.stack(views(n, d, torch.float64))
    z_a, z_b = ((z - z.amin()) / (z.amax() - z.amin()) * (2**bits - 1)).round().to(dtype)
    return z_a, z_b
