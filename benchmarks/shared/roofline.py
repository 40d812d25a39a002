"""The physical floor of the loss on a GPU: no code of it is much faster than the slower of arithmetic and memory.

    arithmetic   6 N D min(N, D) FLOPs over the rate of an 8192^3 matrix product in the same operands
    memory       z_a and z_b read once, dz_a and dz_b written once, over the bandwidth of a device-to-device copy

Both ceilings are measured on the device at hand, through PyTorch, once per run. Beside it the GEMM-only floor of
floor.py says what the vendor's library makes of these very products.
"""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CudaDevice
from bt_kernels.formulation import choose_formulation, flops

MATRIX_SIZE = 8192
COPY_BYTES = 2 << 30
WARM_UP, CALLS = 3, 20


class Ceilings(NamedTuple):
    flops_per_second: float
    bytes_per_second: float  # read and written


class Roofline(NamedTuple):
    flops: int
    bytes: int
    ms: float
    bound: str  # arithmetic or memory


def roofline(cell: Cell, ceilings: Ceilings) -> Roofline:
    n, d = cell.n, cell.d
    work = flops(choose_formulation("auto", n, d), n, d)
    traffic = 2 * cell.embeddings_bytes
    arithmetic, memory = work / ceilings.flops_per_second, traffic / ceilings.bytes_per_second
    bound = "arithmetic" if arithmetic > memory else "memory"
    return Roofline(work, traffic, 1e3 * max(arithmetic, memory), bound)


def measure_ceilings(device: CudaDevice, cell: Cell) -> Ceilings:
    """Both ceilings for cells with these operands: medians, of random numbers (zeros multiply faster)."""
    with cell.products(), torch.no_grad():
        found = Ceilings(product_rate(device, cell.torch_dtype), copy_bandwidth(device))
    device.release()
    return found


def product_rate(device: CudaDevice, dtype: torch.dtype) -> float:  # FLOPs per second
    size = MATRIX_SIZE
    a, b = (torch.randn(size, size, device=device.torch_device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return 2 * size**3 / median_seconds(device, lambda: torch.mm(a, b, out=product))


def copy_bandwidth(device: CudaDevice) -> float:  # bytes per second, read and written
    numbers = int(min(COPY_BYTES, device.available_bytes() // 8)) // 4
    source = torch.randn(numbers, device=device.torch_device)
    target = torch.empty_like(source)
    return 2 * 4 * numbers / median_seconds(device, lambda: target.copy_(source))


def median_seconds(device: CudaDevice, call: Callable[[], object]) -> float:
    for _ in range(WARM_UP):
        call()
    return statistics.median(device.time(call) for _ in range(CALLS))
