"""The cuda backend: the CUDA C++ kernels of csrc/cuda, where setup.py found nvcc.

architectures.py says which GPUs the compiled code runs on.

float32, bfloat16 and float16; float32 accumulators throughout. 16-bit embeddings are multiplied as 16 bits,
float32 as float32_products.py says. The order of all sums is fixed: the same input gives the same bits.
"""

import functools
from pathlib import Path

import torch

from bt_kernels.backends import ops, torch_ops
from bt_kernels.backends.cuda.architectures import any_runs_on
from bt_kernels.backends.float32_products import tf32
from bt_kernels.backends.op_shapes import Kept
from bt_kernels.backends.stages import Availability
from bt_kernels.build_report import read_build_report, why_no_cuda

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NAMESPACE = "bt_kernels_cuda"
ROW_MULTIPLE = 64  # row_stride of csrc/cuda/loss.h
SQUARES_SHARE = 64  # kSquaresShare there


def squares(d: int, n: int, dtype: torch.dtype, tf32: bool, device: torch.device) -> tuple[int, int]:
    tiles = -(-d // SQUARES_SHARE)
    return tiles, tiles


# csrc/cuda implements them for CUDA and, as the tests compile it, for the CPU.
ops.define(NAMESPACE, Kept(squares, ROW_MULTIPLE))


def load_library(library: Path, dispatch_key: str = "CUDA") -> Availability:
    return torch_ops.load_library(library, "CUDA kernels", f"{NAMESPACE}::gram_forward", dispatch_key)


def built_libraries() -> list[Path]:
    return sorted(Path(__file__).parents[2].glob("_CUDA.*so"))


def load_built_library() -> Availability:
    libraries = built_libraries()
    return load_library(libraries[0]) if libraries else Availability(False, why_no_cuda())


LIBRARY = load_built_library()
EMULATED: Availability | None = None


def emulate(library: Path) -> None:
    """For the tests: kernels compiled for the CPU (tests/cuda_emulated) take embeddings on the CPU from now on, if
    asked for by name."""
    global EMULATED
    EMULATED = load_library(library, "CPU")


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    library = EMULATED if EMULATED is not None and device.type == "cpu" else LIBRARY
    if not library.ok:
        return library
    if dtype not in DTYPES:
        return Availability(False, f"it takes float32, bfloat16 and float16, not {dtype}")
    if library is EMULATED:
        return Availability(True, f"{library.reason}, compiled for the CPU: for tests")
    if device.type != "cuda":
        return Availability(False, f"it takes embeddings on a CUDA GPU, not on {device.type}")
    return on_gpu(torch.cuda.current_device() if device.index is None else device.index) or library


@functools.cache
def on_gpu(index: int) -> Availability | None:
    """Why the library cannot run on that GPU; None if it can."""
    if torch.version.hip is not None:
        return Availability(False, f"torch {torch.__version__} is a ROCm build, and the kernels are CUDA's")
    if torch.version.cuda is None:
        return Availability(False, f"torch {torch.__version__} is a build without CUDA")
    report = read_build_report()
    if "cuda" not in report:
        reason = "its build left no report of the GPUs that it is for: install the package again"
        return Availability(False, reason, fault=True)
    toolkit = report["cuda"]
    if toolkit.split(".")[0] != torch.version.cuda.split(".")[0]:
        reason = (
            f"the kernels were built with CUDA {toolkit}, torch {torch.__version__} with CUDA "
            f"{torch.version.cuda}: install the package again beside this torch"
        )
        return Availability(False, reason, fault=True)
    capability = torch.cuda.get_device_capability(index)
    if capability < (8, 0):
        return Availability(
            False, f"it needs compute capability 8.0 or newer, not {capability[0]}.{capability[1]}"
        )
    if not any_runs_on(report["cuda_architectures"], capability):
        reason = (
            f"the kernels were built for {' '.join(report['cuda_architectures'])}, none of which runs on compute "
            f"capability {capability[0]}.{capability[1]}: install the package again on this machine"
        )
        return Availability(False, reason, fault=True)
    return None


BACKEND = ops.OpBackend(NAMESPACE, availability, tf32)
