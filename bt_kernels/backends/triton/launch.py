"""What every launch needs, without Triton: the device, the operands' type, scratch shapes."""

import contextlib
import functools
from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.triton.heuristics import CORRELATION_TILES, ROW_MULTIPLE, Gpu, Tile, pick

# Triton's interpreter has no device to ask; few multiprocessors leave it few splits to walk through.
INTERPRETER = Gpu(multiprocessors=4, shared_bytes=160 << 10)


class Operands(NamedTuple):
    """How the operands of the matrix products are held and multiplied."""

    kind: str  # row of the heuristics: 16-bit, tf32 or ieee
    itemsize: int

    @property
    def tf32(self) -> bool:
        return self.kind == "tf32"

    @property
    def precision(self) -> str:
        """input_precision of tl.dot, which regards it for float32 alone."""
        return "tf32" if self.tf32 else "ieee"


def properties(device: torch.device) -> Gpu:
    return INTERPRETER if device.type == "cpu" else ask(device)


@functools.cache
def ask(device: torch.device) -> Gpu:
    found = torch.cuda.get_device_properties(device)
    shared = getattr(found, "shared_memory_per_block_optin", 0) or found.shared_memory_per_block
    return Gpu(found.multi_processor_count, shared)


def operands(dtype: torch.dtype, tf32: bool) -> Operands:
    """16 bits stay 16 bits; tf32: how float32 is multiplied. ROCm: no tf32 in common."""
    if dtype.itemsize == 2:
        return Operands("16-bit", 2)
    return Operands("tf32" if tf32 and torch.version.hip is None else "ieee", 4)


def product_tile(kind: Operands, n: int, device: torch.device) -> Tile:
    """Of C's product, which is known without Triton: the shapes of what is kept go by it."""
    return pick(CORRELATION_TILES, kind.kind, n, kind.itemsize, properties(device))


def options(warps: int, stages: int = 3) -> dict:
    """Of the compiler. Products and sums are fused as PyTorch's own kernels have it, whatever Triton's default."""
    return {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}


def padded(size: int, multiple: int = ROW_MULTIPLE) -> int:
    return -(-size // multiple) * multiple


def on_device_of(z: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device's current stream."""
    if z.is_cuda and z.device.index != torch.cuda.current_device():
        return torch.cuda.device(z.device)
    return contextlib.nullcontext()
