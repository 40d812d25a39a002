"""The triton backend: every stage a Triton kernel, no compiler needed at install.

    implementation.py                         what runs the ops; it imports Triton, at first need
    standardize.py, gram.py, correlation.py   launch the kernels of kernels/, one per file
    heuristics.py                             with which tiles

float32, bfloat16 and float16; float32 accumulators throughout. 16-bit embeddings are multiplied as 16 bits,
float32 as float32_products.py says. The order of all sums is fixed: the same input gives the same bits.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import torch

from bt_kernels.backends import ops
from bt_kernels.backends.float32_products import tf32
from bt_kernels.backends.op_shapes import Kept
from bt_kernels.backends.stages import Availability
from bt_kernels.backends.torch_ops import first_line
from bt_kernels.backends.triton.heuristics import ROW_MULTIPLE
from bt_kernels.backends.triton.launch import operands, product_tile

OLDEST = (3, 6)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # fixed when the package is imported
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NAMESPACE = "bt_kernels_triton"


def squares(d: int, n: int, dtype: torch.dtype, tf32: bool, device: torch.device) -> tuple[int, int]:
    tile = product_tile(operands(dtype, tf32), n, device)
    return -(-d // tile.n), -(-d // tile.m)


def run(name: str) -> Callable[..., Any]:
    """What runs that op. Triton is not imported before it is called."""

    def op(*arguments):
        from bt_kernels.backends.triton import implementation

        return implementation.OPS[name](*arguments)

    return op


ops.define(NAMESPACE, Kept(squares, ROW_MULTIPLE), {name: run(name) for name in ops.SCHEMAS})


@functools.cache
def load() -> Availability:
    """Imports Triton and the kernels: not before they are needed, for it takes longer than all the rest."""
    try:
        import triton

        if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
            found = f"Triton {triton.__version__} is too old"
            reason = f"{found}: 3.6 or newer is needed, which comes with torch 2.10; update torch"
            return Availability(False, reason, fault=True)
        from bt_kernels.backends.triton import implementation  # noqa: F401
    except Exception as error:  # whatever a damaged installation raises
        if isinstance(error, ModuleNotFoundError) and error.name == "triton":
            return Availability(False, "Triton is not installed (pip install triton)")
        reason = f"Triton cannot be imported: {type(error).__name__}: {first_line(error)}"
        return Availability(False, f"{reason}; install the version that this torch asks for", fault=True)
    return Availability(True, f"Triton {triton.__version__}")


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    if dtype not in DTYPES:
        return Availability(False, f"it takes float32, bfloat16 and float16, not {dtype}")
    if device.type == "cpu" and not INTERPRETED:
        return Availability(False, "it takes embeddings on a GPU, not on the CPU")
    if device.type not in ("cpu", "cuda"):
        return Availability(False, f"it takes embeddings on a CUDA or ROCm GPU, not on {device.type}")
    loaded = load()
    if not loaded.ok:
        return loaded
    if device.type == "cpu":
        return Availability(True, f"{loaded.reason}, interpreted on the CPU: for tests")
    return on_gpu(device) or loaded


def on_gpu(device: torch.device) -> Availability | None:
    """Why Triton cannot run on that GPU; None if it can."""
    if torch.version.hip is None and (found := torch.cuda.get_device_capability(device)) < (8, 0):
        return Availability(False, f"it needs compute capability 8.0 or newer, not {found[0]}.{found[1]}")
    return launching()


@functools.cache
def launching() -> Availability | None:
    """Why no kernel can be launched in this process; None if they can. Asked once: a failure may take seconds."""
    import triton

    try:
        triton.runtime.driver.active  # noqa: B018  made at first use, by some versions with a C compiler
    except Exception as error:  # whatever Triton lacks here, its kernels could not be launched
        reason = f"Triton {triton.__version__} cannot launch kernels here: {first_line(error)}"
        needs = "it needs the GPU's driver, a C compiler and Python's headers"
        return Availability(False, f"{reason}; {needs}", fault=True)
    return None


BACKEND = ops.OpBackend(NAMESPACE, availability, tf32)
