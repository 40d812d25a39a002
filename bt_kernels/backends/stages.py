"""What a backend must provide: forward and backward of the loss in both formulations.

A backend is a module. It knows nothing about ranks, modules or training; it is handed validated embeddings and
options, on a device for which it said it is available. The formulas are in docs/mathematics.md.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bt_kernels.options import LossOptions


class Availability(NamedTuple):
    """Whether a backend works here, and the reason in one sentence."""

    ok: bool
    reason: str


class GramResiduals(NamedTuple):
    """What the Gram backward of the cpu and eager backends needs beside the embeddings."""

    c_diagonal: Tensor  # (D,) C_ii
    statistics: Tensor  # (rows, D) what this backend standardizes again with
    shifts: Tensor  # (2,) float64 trace(y_a y_a^T) / N, trace(y_b y_b^T) / N
    k_a: Tensor  # (N, N) y_a y_a^T - shifts[0] * I, symmetric
    k_b: Tensor  # (N, N) y_b y_b^T - shifts[1] * I, symmetric


class CorrelationResiduals(NamedTuple):
    """What the correlation backward of the cpu and eager backends needs beside the embeddings.

    For N < D c, y_a and y_b are left out, (0,), and computed again, C by blocks.
    """

    c_diagonal: Tensor  # (D,) C_ii
    statistics: Tensor  # (rows, D) what this backend standardizes again with
    c: Tensor  # (D, D)
    y_a: Tensor  # (N, D) standardized embeddings in the accumulation dtype
    y_b: Tensor  # (N, D)


# What a forward hands its own backward, through autograd's saved tensors. For N < D nothing in it may be D x D.
Residuals = tuple[Tensor, ...]
Terms = tuple[Tensor, Tensor, Tensor]  # loss, on_diagonal, off_diagonal: scalars in the accumulation dtype


class OutputGradients(NamedTuple):
    """Gradients of the three outputs: scalars on the embeddings' device, None where an output was not used."""

    loss: Tensor | None
    on_diagonal: Tensor | None
    off_diagonal: Tensor | None


class Backend(Protocol):
    """The stages. Both backwards return a gradient in the embeddings' dtype per view, None where not needed."""

    def availability(self, device: torch.device, dtype: torch.dtype) -> Availability:
        """Whether this backend can take embeddings of that dtype on that device."""

    def gram_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]: ...

    def gram_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]: ...

    def correlation_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]: ...

    def correlation_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]: ...


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that embeddings of the given dtype are standardized, multiplied and reduced in."""
    return torch.float64 if dtype == torch.float64 else torch.float32
