"""The backends that are torch ops: the schemas of eight ops, one for every backend's namespace, and the stages.

In a namespace the ops are implemented by a library (csrc/cpu, csrc/cuda) or by Python functions (triton). Their
outputs beyond the terms and the sums are what the backward takes. What a backend keeps of it, and in which dtype,
is in its op_shapes.Kept:

    c_diagonal       (D,)
    statistics       (2, 3, D): mean, residual_mean and rstd of each view; or rstd alone, (2, D), where y is kept
    y                (2, N, D)
    shifts, k        (2,), (2, N, N)
    c_off_diagonal   (D, D)
    row_squares, column_squares   (tiles, D) each, sums over tiles of columns and of rows

given_statistics are mean, residual_mean and rstd of both views, (3, 2, D) float64. tf32 says how float32 is
multiplied; the cpu ops follow torch's setting by themselves. A gradient that is not needed is an undefined tensor
in C++, which is None in Python.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bt_kernels.backends import torch_ops
from bt_kernels.backends.op_shapes import Kept, shapes_of
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
from bt_kernels.options import LossOptions

EMBEDDINGS = "Tensor z_a, Tensor z_b"
FORWARD = f"{EMBEDDINGS}, float lambd, float scale, float eps, bool unbiased, bool tf32, bool needs_backward"
TOTAL = "int n, ScalarType dtype, float lambd, float scale, bool tf32, bool needs_backward"
TERMS = "Tensor loss, Tensor on_diagonal, Tensor off_diagonal"
OUTPUT_GRADIENTS = "Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal"
BATCH = "bool unbiased, bool standardized, bool tf32, bool needs_a, bool needs_b"
OF_FEATURES = "Tensor c_diagonal, Tensor statistics, Tensor y"
OF_ROWS = "Tensor statistics, Tensor y"
OF_K = "Tensor shifts, Tensor k"
OF_C = "Tensor c_diagonal, Tensor c_off_diagonal, Tensor row_squares, Tensor column_squares"

SCHEMAS = {
    "gram_forward": f"({FORWARD}) -> ({TERMS}, {OF_FEATURES}, {OF_K})",
    "gram_partial": f"({EMBEDDINGS}, Tensor? given_statistics, float eps, bool unbiased, bool tf32, "
    f"bool needs_backward) -> (Tensor triangles, Tensor sums, {OF_FEATURES})",
    "gram_total": f"(Tensor triangles, Tensor sums, {TOTAL}) -> ({TERMS}, {OF_K})",
    "gram_backward": f"({OUTPUT_GRADIENTS}, {EMBEDDINGS}, {OF_FEATURES}, {OF_K}, float lambd, float scale, "
    f"float eps, {BATCH}) -> (Tensor dz_a, Tensor dz_b)",
    "correlation_forward": f"({FORWARD}) -> ({TERMS}, {OF_ROWS}, {OF_C})",
    "correlation_partial": f"({EMBEDDINGS}, Tensor given_statistics, int samples, bool tf32, "
    f"bool needs_backward) -> (Tensor c, {OF_ROWS})",
    "correlation_total": f"(Tensor(a!) c, {TOTAL}) -> ({TERMS}, {OF_C})",
    "correlation_backward": f"({OUTPUT_GRADIENTS}, {EMBEDDINGS}, {OF_ROWS}, {OF_C}, float lambd, float scale, "
    f"int? samples, {BATCH}) -> (Tensor dz_a, Tensor dz_b)",
}


def define(namespace: str, kept: Kept, run: Mapping[str, Callable[..., Any]] | None = None) -> None:
    """Defines the ops of a backend. run: the Python functions that run them; None: a library does."""
    for name, schema in SCHEMAS.items():
        torch_ops.define(f"{namespace}::{name}", schema, shapes_of(name, kept), None if run is None else run[name])


class OpBackend:
    """The stages of stages.py, as the ops of a namespace run them."""

    def __init__(
        self,
        namespace: str,
        availability: Callable[[torch.device, torch.dtype], Availability],
        tf32: Callable[[torch.dtype], bool],  # whether embeddings of that dtype are multiplied as tf32 now
    ) -> None:
        self.ops = getattr(torch.ops, namespace)
        self.availability, self.tf32 = availability, tf32

    def gram_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]:
        return self._forward(self.ops.gram_forward, z_a, z_b, options, needs_backward)

    def correlation_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]:
        return self._forward(self.ops.correlation_forward, z_a, z_b, options, needs_backward)

    def _forward(
        self, op: Callable[..., Any], z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]:
        loss, on_diagonal, off_diagonal, *residuals = op(
            z_a,
            z_b,
            options.lambd,
            options.scale,
            options.eps,
            options.unbiased,
            self.tf32(z_a.dtype),
            needs_backward,
        )
        return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else None

    def gram_partial(
        self,
        z_a: Tensor,
        z_b: Tensor,
        options: LossOptions,
        statistics: Statistics | None,
        needs_backward: bool,
    ) -> GramPartial:
        given = None if statistics is None else torch.stack(statistics)
        triangles, sums, *residuals = self.ops.gram_partial(
            z_a, z_b, given, options.eps, options.unbiased, self.tf32(z_a.dtype), needs_backward
        )
        return GramPartial(triangles, sums, tuple(residuals) if needs_backward else ())

    def gram_total(
        self,
        triangles: Tensor,
        sums: Tensor,
        n: int,
        dtype: torch.dtype,
        options: LossOptions,
        needs_backward: bool,
    ) -> tuple[Terms, Residuals]:
        loss, on_diagonal, off_diagonal, *residuals = self.ops.gram_total(
            triangles, sums, n, dtype, options.lambd, options.scale, self.tf32(dtype), needs_backward
        )
        return (loss, on_diagonal, off_diagonal), tuple(residuals) if needs_backward else ()

    def gram_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        batch: Batch,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        return self.ops.gram_backward(
            *gradients,
            z_a,
            z_b,
            *residuals,
            options.lambd,
            options.scale,
            options.eps,
            options.unbiased,
            batch.standardized,
            self.tf32(z_a.dtype),
            *needs,
        )

    def correlation_partial(
        self, z_a: Tensor, z_b: Tensor, statistics: Statistics, samples: int, needs_backward: bool
    ) -> CorrelationPartial:
        c, *residuals = self.ops.correlation_partial(
            z_a, z_b, torch.stack(statistics), samples, self.tf32(z_a.dtype), needs_backward
        )
        return CorrelationPartial(c, tuple(residuals) if needs_backward else ())

    def correlation_total(
        self, c: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals]:
        loss, on_diagonal, off_diagonal, c_diagonal, c_off_diagonal, *squares = self.ops.correlation_total(
            c, n, dtype, options.lambd, options.scale, self.tf32(dtype), needs_backward
        )
        if c_off_diagonal.numel() == 0:  # an op returns nothing that it was given
            c_off_diagonal = c
        residuals = (c_diagonal, c_off_diagonal, *squares)
        return (loss, on_diagonal, off_diagonal), residuals if needs_backward else ()

    def correlation_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        batch: Batch,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        return self.ops.correlation_backward(
            *gradients,
            z_a,
            z_b,
            *residuals,
            options.lambd,
            options.scale,
            batch.samples,
            options.unbiased,
            batch.standardized,
            self.tf32(z_a.dtype),
            *needs,
        )
