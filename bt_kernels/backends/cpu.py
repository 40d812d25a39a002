"""The cpu backend: the C++ ops of csrc/cpu."""

from pathlib import Path

import torch

from bt_kernels.backends import ops, torch_ops
from bt_kernels.backends.op_shapes import Kept
from bt_kernels.backends.stages import Availability, accumulation_dtype
from bt_kernels.build_report import was_built, why_not_built

FOLDER = Path(__file__).parents[1]
NAMESPACE = "bt_kernels_cpu"
KEPT = Kept(
    squares=None,
    row_multiple=1,
    matrix_dtype=accumulation_dtype,
    statistics=(2, 3),
    numbers_dtype=torch.float64,
    y_without_c=False,
    c_in_place=True,
    apart=16,  # kLine of csrc/cpu/bindings.h
)


def load_library() -> Availability:
    libraries = sorted(FOLDER.glob("_C.*so"))
    if not libraries:
        return Availability(False, why_not_built(), fault=was_built())
    return torch_ops.load_library(libraries[0], "C++ ops", f"{NAMESPACE}::gram_forward", "CPU")


ops.define(NAMESPACE, KEPT)
LIBRARY = load_library()


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    if LIBRARY.ok and device.type != "cpu":
        return Availability(False, f"it takes embeddings on the CPU, not on {device.type}")
    return LIBRARY


def no_tf32(dtype: torch.dtype) -> bool:
    """The products follow torch's float32 matmul precision by themselves."""
    return False


BACKEND = ops.OpBackend(NAMESPACE, availability, no_tf32)
