"""What the kernels of a backward are given, and what they share.

Triton takes a NamedTuple as an argument and specializes each member as an argument of its own: None and 1 are
constants, tensors and multiples of 16 are known to be aligned. It costs a launch no more than its members would.
A kernel takes one only if it needs most of it, because members that it does not need are specialized, too.

STANDARDIZED is a constexpr: a process has one or the other, and a bool fails as an argument in the interpreter of
Triton 3.6.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients
from bt_kernels.backends.triton.kernels.numeric import power_of_two_below


class GramBackward(NamedTuple):
    """What the Gram form's backward is given, in one kernel or by panels."""

    gradients: OutputGradients  # () float32 each, or None
    y: Tensor  # (2, N, ld) operands; ld a multiple of BLOCK_K, zero from D on
    ld: int
    rstd: Tensor  # (2, D) float32
    c_diagonal: Tensor  # (D,) float32
    shifts: Tensor  # (2,) float32
    dz_a: Tensor | None  # (N, D)
    dz_b: Tensor | None  # (N, D)
    N: int
    D: int
    lambd: float
    scale: float
    eps: float
    variance_divisor: float


class GramPanel(NamedTuple):
    """A panel of features between gram_product and gram_apply."""

    product: Tensor  # (views, N, width) float32
    column_sums: Tensor  # (views, tiles of N, width) float32
    width: int  # features of the panel, a multiple of BLOCK_N
    first_column: int  # of the panel, a multiple of BLOCK_N


class CorrelationBackward(NamedTuple):
    """What the correlation form's backward is given for one view, whichever rows of C are at hand."""

    gradients: OutputGradients  # () float32 each, or None
    y: Tensor  # (2, N, ld) operands; ld a multiple of BLOCK_K, zero from D on
    ld: int
    rstd: Tensor  # (2, D) float32
    c_diagonal: Tensor  # (D,) float32
    dz: Tensor  # (N, D)
    N: int
    samples: int
    D: int
    lambd: float
    scale: float
    variance_divisor: float


class CorrelationPanel(NamedTuple):
    """Rows of C, or of its transpose: a panel of the features of the view whose gradient is asked for."""

    # Operands: element (i, j), i of this panel, at c_off_diagonal + i * stride_i + j * stride_j.
    c_off_diagonal: Tensor
    stride_i: int
    stride_j: int
    squares: Tensor  # (count, width) float32: shares of the sum of c_off_diagonal^2 over j
    count: int
    width: int  # features of the panel
    first_column: int


@triton.jit
def term_weights(gradients: OutputGradients, lambd, scale):
    """w_on and w_off: what the gradients of the three outputs, where given, amount to for the two terms."""
    on_diagonal = 0.0
    off_diagonal = 0.0
    if gradients.loss is not None:
        loss = tl.load(gradients.loss)
        on_diagonal += scale * loss
        off_diagonal += scale * lambd * loss
    if gradients.on_diagonal is not None:
        on_diagonal += tl.load(gradients.on_diagonal)
    if gradients.off_diagonal is not None:
        off_diagonal += tl.load(gradients.off_diagonal)
    return on_diagonal, off_diagonal


@triton.jit
def taken_out(q, variance_divisor, STANDARDIZED: tl.constexpr):
    """Of y, per feature, by the standardization: q / M. Nothing of embeddings that arrived standardized."""
    return tl.zeros_like(q) if STANDARDIZED else q / variance_divisor


@triton.jit
def gram_feature(given: GramBackward, sums, columns, in_columns, view, w_on, w_off, STANDARDIZED: tl.constexpr):
    """rstd, and what T / unit, y_other and y_own of these features are multiplied by:

        dz = rstd (of_product T / unit + of_other y_other - of_own y_own)

    sums is the sum of T y / unit over the samples. Of embeddings that arrived standardized all of K's shift is put
    back.
    """
    alpha = 2.0 * w_off / given.N / given.N
    c_ii = tl.load(given.c_diagonal + columns, in_columns, 0.0)
    r = tl.load(given.rstd + view * given.D + columns, in_columns, 0.0)
    # d of docs/mathematics.md: what the diagonal of dloss/dC has beyond 2 w_off C_ii.
    of_other = 2.0 * (w_on * (c_ii - 1.0) - w_off * c_ii) / given.N
    shift = tl.load(given.shifts + (1 - view))
    of_product = alpha * power_of_two_below(shift)
    q = of_product * sums + of_other * given.N * c_ii
    put_back = alpha * shift * (1.0 if STANDARDIZED else given.eps) * r * r
    return r, of_product, of_other, taken_out(q, given.variance_divisor, STANDARDIZED) - put_back


@triton.jit
def store_gradient(given: GramBackward, offsets, dz, mask, view, FIRST_VIEW: tl.constexpr, VIEWS: tl.constexpr):
    """dz of that view, of which there are VIEWS from FIRST_VIEW on; what is not among them may be None."""
    if VIEWS == 2:
        if view == 0:
            tl.store(given.dz_a + offsets, dz.to(given.dz_a.dtype.element_ty), mask)
        else:
            tl.store(given.dz_b + offsets, dz.to(given.dz_b.dtype.element_ty), mask)
    elif FIRST_VIEW == 0:
        tl.store(given.dz_a + offsets, dz.to(given.dz_a.dtype.element_ty), mask)
    else:
        tl.store(given.dz_b + offsets, dz.to(given.dz_b.dtype.element_ty), mask)
