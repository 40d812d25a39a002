"""What a backend must provide: forward and backward of the loss in both formulations, at once and in halves.

A backend is a module with these functions, or an ops.OpBackend. It knows nothing about ranks, modules or training.
It is handed validated embeddings and options, on a device for which it said it is available. The formulas are in
docs/mathematics.md.

A forward is also there in two halves, for embeddings of which a process has a share:

    gram         gram_partial on all N rows of some features         add up triangles and sums  gram_total
    correlation  correlation_partial on all D features of some rows  add up C                   correlation_total

What both halves leave, one after the other, is what the forward leaves for the backward. The backward then needs
nothing of the other shares.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bt_kernels.options import LossOptions


class Availability(NamedTuple):
    """Whether a backend works here, and the reason in one sentence.

    fault: it was built or installed for this machine and does not work, which "auto" warns of. False where a
    backend is not installed, or is not made for that device or dtype.
    """

    ok: bool
    reason: str
    fault: bool = False


class Statistics(NamedTuple):
    """What embeddings are standardized with, where it is not that of the rows at hand: y = (z - mean -
    residual_mean) * rstd. (2, D) float64 each, for view a and view b."""

    mean: Tensor
    residual_mean: Tensor  # mean of z - mean: what rounding left of a float64 mean; 0 for narrower embeddings
    rstd: Tensor


class Batch(NamedTuple):
    """What the rows that a backward is given belong to."""

    samples: int | None = None  # N, which divides C; None: these rows are all
    standardized: bool = False  # z came standardized: y = z, and the gradient of y is the gradient of z


# What a forward hands its own backward, through autograd's saved tensors. For N < D nothing in it may be D x D,
# unless C came from correlation_total.
Residuals = tuple[Tensor, ...]
Terms = tuple[Tensor, Tensor, Tensor]  # loss, on_diagonal, off_diagonal: scalars in the accumulation dtype


class GramPartial(NamedTuple):
    """Sums over a share of the features, and what the backward needs of these features."""

    triangles: Tensor  # (2, N (N + 1) / 2) accumulation dtype: K_a and K_b less shift * I, upper triangles by rows
    # (4,) float64: (1 - C_ii)^2; C_ii^2, of the y that K was made of; and what was taken from the diagonals of K_a
    # and K_b, trace(K) / N. Each at most 4 D.
    sums: Tensor
    residuals: Residuals


class CorrelationPartial(NamedTuple):
    """Sums over a share of the rows, and what the backward needs of these rows."""

    c: Tensor  # (D, D) accumulation dtype, contiguous: y_a^T y_b / N; on its diagonal of y before any rounding
    residuals: Residuals


class OutputGradients(NamedTuple):
    """Gradients of the three outputs: scalars on the embeddings' device, None where an output was not used."""

    loss: Tensor | None
    on_diagonal: Tensor | None
    off_diagonal: Tensor | None


class Forward(Protocol):
    """Without needs_backward there are no residuals."""

    def __call__(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]: ...


class Backward(Protocol):
    """Returns dz_a and dz_b in the embeddings' dtype, None where not needed."""

    def __call__(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        batch: Batch,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]: ...


class Stages(Protocol):
    """What the autograd function calls."""

    @property
    def gram_forward(self) -> Forward: ...

    @property
    def gram_backward(self) -> Backward: ...

    @property
    def correlation_forward(self) -> Forward: ...

    @property
    def correlation_backward(self) -> Backward: ...


class Backend(Stages, Protocol):
    """The stages, and the forwards also in halves."""

    def availability(self, device: torch.device, dtype: torch.dtype) -> Availability:
        """Whether this backend can take embeddings of that dtype on that device."""

    def gram_partial(
        self,
        z_a: Tensor,  # (N, any number of features from 1 on)
        z_b: Tensor,
        options: LossOptions,
        statistics: Statistics | None,  # None: of these rows, which are all there are
        needs_backward: bool,
    ) -> GramPartial:
        """The first half, up to what has to be added up over the features. Without needs_backward no residuals."""

    def gram_total(
        self,
        triangles: Tensor,
        sums: Tensor,
        n: int,
        dtype: torch.dtype,
        options: LossOptions,
        needs_backward: bool,
    ) -> tuple[Terms, Residuals]:
        """The second half, from the sums over all features of embeddings of that dtype. It may write to
        triangles."""

    def correlation_partial(
        self,
        z_a: Tensor,  # (any number of rows from 1 on, D)
        z_b: Tensor,
        statistics: Statistics,
        samples: int,  # N
        needs_backward: bool,
    ) -> CorrelationPartial:
        """The first half, up to what has to be added up over the rows. Without needs_backward no residuals."""

    def correlation_total(
        self, c: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals]:
        """The second half, from the sum over all rows of embeddings of that dtype. It may keep c, or write
        to it."""


def variance_divisor(samples: int, unbiased: bool) -> int:
    """M, what the sum of squares of that many samples is divided by to give the variance."""
    return samples - int(unbiased)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that embeddings of the given dtype are standardized, multiplied and reduced in."""
    return torch.float64 if dtype == torch.float64 else torch.float32
