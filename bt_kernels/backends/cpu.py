"""The cpu backend: the C++ ops of csrc/cpu."""

from pathlib import Path

import torch
from torch import Tensor

from bt_kernels.backends import op_shapes, torch_ops
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
from bt_kernels.build_report import was_built, why_not_built
from bt_kernels.options import LossOptions

FOLDER = Path(__file__).parents[1]


def load_library() -> Availability:
    libraries = sorted(FOLDER.glob("_C.*so"))
    if not libraries:
        return Availability(False, why_not_built(), fault=was_built())
    return torch_ops.load_library(libraries[0], "C++ ops", op_shapes.register)


LIBRARY = load_library()


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    if LIBRARY.ok and device.type != "cpu":
        return Availability(False, f"it takes embeddings on the CPU, not on {device.type}")
    return LIBRARY


def gram_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels.gram_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else None


def statistics_rows(statistics: Statistics) -> Tensor:  # (6, D), three rows for each view
    return torch.stack(statistics, 1).flatten(0, 1)


def gram_partial(
    z_a: Tensor, z_b: Tensor, options: LossOptions, statistics: Statistics | None, needs_backward: bool
) -> GramPartial:
    given = None if statistics is None else statistics_rows(statistics)
    triangles, sums, *residuals = torch.ops.bt_kernels.gram_partial(z_a, z_b, given, options.eps, options.unbiased)
    return GramPartial(triangles, sums, tuple(residuals) if needs_backward else ())


def gram_total(
    triangles: Tensor, sums: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    loss, on_diagonal, off_diagonal, k_a, k_b = torch.ops.bt_kernels.gram_total(
        triangles, sums, n, options.lambd, options.scale, needs_backward
    )
    return (loss, on_diagonal, off_diagonal), (sums[2:], k_a, k_b) if needs_backward else ()


def gram_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels.gram_backward(
        *gradients, z_a, z_b, *residuals, options.lambd, options.scale, options.eps, batch.correction, *needs
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None


def correlation_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    loss, on_diagonal, off_diagonal, *residuals = torch.ops.bt_kernels.correlation_forward(
        z_a, z_b, options.lambd, options.scale, options.eps, options.unbiased, needs_backward
    )
    return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else None


def correlation_partial(
    z_a: Tensor, z_b: Tensor, statistics: Statistics, samples: int, needs_backward: bool
) -> CorrelationPartial:
    rows = statistics_rows(statistics)
    c, y_a, y_b = torch.ops.bt_kernels.correlation_partial(z_a, z_b, rows, samples, needs_backward)
    return CorrelationPartial(c, (rows, y_a, y_b) if needs_backward else ())


def correlation_total(
    c: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    *terms, c_diagonal = torch.ops.bt_kernels.correlation_total(c, options.lambd, options.scale)
    return tuple(terms), (c_diagonal, c) if needs_backward else ()


def correlation_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    dz_a, dz_b = torch.ops.bt_kernels.correlation_backward(
        *gradients, z_a, z_b, *residuals, options.lambd, options.scale, *batch, *needs
    )
    return dz_a if needs[0] else None, dz_b if needs[1] else None
