"""The cuda backend: the CUDA C++ kernels of csrc/cuda, where setup.py found nvcc.

    ops.py             the torch ops around them, through which this module calls
    architectures.py   which GPUs the compiled code runs on

float32, bfloat16 and float16; float32 accumulators throughout. 16-bit embeddings are multiplied as 16 bits,
float32 as float32_products.py says. Fixed order everywhere: same input,
same bits.
"""

import functools
from pathlib import Path

import torch
from torch import Tensor

from bt_kernels.backends import torch_ops
from bt_kernels.backends.cuda import ops  # noqa: F401  defines the ops that the library implements
from bt_kernels.backends.cuda.architectures import any_runs_on
from bt_kernels.backends.float32_products import tf32
from bt_kernels.backends.stages import (
    Availability,
    Batch,
    CorrelationPartial,
    GramPartial,
    OutputGradients,
    Residuals,
    Statistics,
    Terms,
)
from bt_kernels.build_report import read_build_report, why_no_cuda
from bt_kernels.options import LossOptions

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def load_library(library: Path) -> Availability:
    return torch_ops.load_library(library, "CUDA kernels")


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
    EMULATED = load_library(library)


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


def gram_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels_cuda.gram_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, tf32(z_a.dtype), needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else None


def gram_partial(
    z_a: Tensor, z_b: Tensor, options: LossOptions, statistics: Statistics | None, needs_backward: bool
) -> GramPartial:
    mean, rstd = (statistics.mean, statistics.rstd) if statistics else (None, None)
    triangles, sums, *residuals = torch.ops.bt_kernels_cuda.gram_partial(
        z_a, z_b, options.eps, options.unbiased, mean, rstd, tf32(z_a.dtype), needs_backward
    )
    return GramPartial(triangles, sums, tuple(residuals) if needs_backward else ())


def gram_total(
    triangles: Tensor, sums: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels_cuda.gram_total(
        triangles, sums, n, dtype, options.lambd, options.scale, tf32(dtype), needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else ()


def gram_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels_cuda.gram_backward(
        *gradients,
        z_a,
        *residuals,
        options.lambd,
        options.scale,
        options.eps,
        batch.correction,
        tf32(z_a.dtype),
        *needs,
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None


def correlation_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels_cuda.correlation_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, tf32(z_a.dtype), needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else None


def correlation_partial(
    z_a: Tensor, z_b: Tensor, statistics: Statistics, samples: int, needs_backward: bool
) -> CorrelationPartial:
    c, *residuals = torch.ops.bt_kernels_cuda.correlation_partial(
        z_a, z_b, statistics.mean, statistics.rstd, samples, tf32(z_a.dtype), needs_backward
    )
    return CorrelationPartial(c, tuple(residuals) if needs_backward else ())


def correlation_total(
    c: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels_cuda.correlation_total(
        c, dtype, options.lambd, options.scale, tf32(dtype), needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else ()


def correlation_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels_cuda.correlation_backward(
        *gradients, z_a, *residuals, options.lambd, options.scale, *batch, tf32(z_a.dtype), *needs
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None
