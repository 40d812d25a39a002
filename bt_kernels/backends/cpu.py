"""The cpu backend: the C++ ops of csrc/cpu."""

from pathlib import Path

import torch
from torch import Tensor

from bt_kernels.backends import op_shapes
from bt_kernels.backends.stages import (
    Availability,
    CorrelationResiduals,
    GramResiduals,
    OutputGradients,
    Terms,
)
from bt_kernels.build_report import why_not_built
from bt_kernels.options import LossOptions


def load_library() -> Availability:
    libraries = sorted((Path(__file__).parent.parent).glob("_C.*so"))
    if not libraries:
        return Availability(False, why_not_built())
    try:
        torch.ops.load_library(str(libraries[0]))
    except OSError as error:
        return Availability(False, f"{libraries[0].name} does not load with torch {torch.__version__}: {error}")
    op_shapes.register()
    return Availability(True, f"C++ ops from {libraries[0].name}")


LIBRARY = load_library()


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    if LIBRARY.ok and device.type != "cpu":
        return Availability(False, f"it takes embeddings on the CPU, not on {device.type}")
    return LIBRARY


def gram_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, GramResiduals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels.gram_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, needs_backward
    )
    return (loss, on_diagonal, off_diagonal), GramResiduals(*residuals) if needs_backward else None


def gram_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: GramResiduals,
    options: LossOptions,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels.gram_backward(
        *gradients, z_a, z_b, *residuals, options.lambd, options.scale, options.eps, options.unbiased, *needs
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None


def correlation_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, CorrelationResiduals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels.correlation_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, needs_backward
    )
    return (loss, on_diagonal, off_diagonal), CorrelationResiduals(*residuals) if needs_backward else None


def correlation_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: CorrelationResiduals,
    options: LossOptions,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels.correlation_backward(
        *gradients, z_a, z_b, *residuals, options.lambd, options.scale, options.eps, options.unbiased, *needs
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None
