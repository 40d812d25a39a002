"""The eager backend: both formulations in plain PyTorch ops, on any device. Read it beside docs/mathematics.md.

Embeddings of 16 bits are standardized, multiplied and reduced in float32, and the gradient is rounded to 16 bits once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.stages import (
    Availability,
    CorrelationResiduals,
    GramResiduals,
    OutputGradients,
    Terms,
    accumulation_dtype,
)
from bt_kernels.options import LossOptions

# Rows of C alive at a time when correlation is forced with N < D.
BLOCK_ROWS = 256


class Standardized(NamedTuple):
    """One view: y = (z - mean - residual_mean) * rstd per feature."""

    y: Tensor  # (N, D) in the accumulation dtype
    mean: Tensor  # (D,)
    residual_mean: Tensor  # (D,) of z - mean: what rounding left of the mean
    rstd: Tensor  # (D,) 1 / sqrt(variance + eps)


class TermWeights(NamedTuple):
    """What the gradients of the three outputs amount to for the two terms."""

    on_diagonal: Tensor  # ()
    off_diagonal: Tensor  # ()


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    return Availability(True, "plain PyTorch ops")


def standardize(z: Tensor, eps: float, unbiased: bool) -> Standardized:
    z = z.to(accumulation_dtype(z.dtype))
    # Centred twice, or a mean far from zero leaves columns of y that do not sum to zero, as the backward takes for
    # granted. The variance is float64: in float32 it overflows for |z| > 1e19.
    mean = z.mean(0)
    residual_mean = (z - mean).mean(0)
    centred = z - mean - residual_mean
    variance = torch.linalg.vector_norm(centred, dim=0, dtype=torch.float64) ** 2 / (z.shape[0] - int(unbiased))
    rstd = torch.rsqrt(variance + eps).to(z.dtype)
    return Standardized(centred * rstd, mean, residual_mean, rstd)


def standardize_again(z: Tensor, statistics: Tensor) -> Tensor:  # (N, D), (3, D) -> (N, D)
    """The forward's y, bit for bit: computing it again is cheaper than keeping it."""
    mean, residual_mean, rstd = statistics
    return (z.to(mean.dtype) - mean - residual_mean) * rstd


def stack_statistics(a: Standardized, b: Standardized) -> Tensor:  # (6, D), three rows for each view
    return torch.stack([*a[1:], *b[1:]])


def block_rows(n: int, d: int) -> int:
    """Rows of C to hold at a time: all of them where C is not larger than an embedding."""
    return d if n >= d else min(d, BLOCK_ROWS)


def sum_of_squares(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dtype=torch.float64) ** 2


def shifted_gram(y: Tensor) -> tuple[Tensor, Tensor]:  # (N, D) -> (N, N), ()
    """K - shift * I with K = y y^T, and shift = trace(K) / N. K's diagonal dwarfs the rest: summed in float64."""
    k = y @ y.T
    diagonal = torch.linalg.vector_norm(y, dim=1, dtype=torch.float64) ** 2
    shift = diagonal.mean()
    k.diagonal().copy_(diagonal - shift)
    return k, shift


def finish_terms(c_diagonal: Tensor, off_diagonal: Tensor, options: LossOptions) -> Terms:
    """The loss and its terms from C_ii, (D,), and the sum of the other C_ij^2, () float64."""
    on_diagonal = ((1 - c_diagonal) ** 2).sum()
    off_diagonal = off_diagonal.to(c_diagonal.dtype)
    return options.scale * (on_diagonal + options.lambd * off_diagonal), on_diagonal, off_diagonal


def term_weights(gradients: OutputGradients, options: LossOptions, like: Tensor) -> TermWeights:
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    loss, on_diagonal, off_diagonal = (zero if g is None else g.to(like.dtype) for g in gradients)
    return TermWeights(on_diagonal + options.scale * loss, off_diagonal + options.scale * options.lambd * loss)


def diagonal_weight(weights: TermWeights, c_diagonal: Tensor) -> Tensor:  # (D,) -> (D,)
    """d: what the diagonal of dloss/dC has beyond 2 * off_diagonal * C_ii."""
    return 2 * (weights.on_diagonal * (c_diagonal - 1) - weights.off_diagonal * c_diagonal)


def standardize_backward(dy: Tensor, y: Tensor, rstd: Tensor, unbiased: bool, extra: Tensor | float = 0) -> Tensor:
    """dloss/dz from dloss/dy + extra * y, (N, D), where extra is the part that the standardization does not take out.

    The columns of dy sum to zero here, so the usual term with their mean is absent.
    """
    q = (dy * y).sum(0)
    return rstd * (dy - y * (q / (y.shape[0] - int(unbiased)) - extra))


def gram_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, GramResiduals | None]:
    n = z_a.shape[0]
    a, b = (standardize(z, options.eps, options.unbiased) for z in (z_a, z_b))
    c_diagonal = (a.y * b.y).sum(0) / n
    (k_a, shift_a), (k_b, shift_b) = shifted_gram(a.y), shifted_gram(b.y)
    # <K_a, K_b> of the whole K; the traces of what is left after the shift are zero.
    inner_product = (k_a * k_b).sum(dtype=torch.float64) + n * shift_a * shift_b
    # A sum of squares: where rounding in the difference leaves less than nothing, it was nothing. clamp keeps NaN.
    off_diagonal = (inner_product / n**2 - sum_of_squares(c_diagonal)).clamp(min=0)
    terms = finish_terms(c_diagonal, off_diagonal, options)
    if not needs_backward:
        return terms, None
    return terms, GramResiduals(c_diagonal, stack_statistics(a, b), torch.stack([shift_a, shift_b]), k_a, k_b)


def gram_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: GramResiduals,
    options: LossOptions,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    n = z_a.shape[0]
    c_diagonal, statistics, shifts, k_a, k_b = residuals
    y_a, y_b = standardize_again(z_a, statistics[:3]), standardize_again(z_b, statistics[3:])
    shift_a, shift_b = shifts.to(c_diagonal.dtype)
    weights = term_weights(gradients, options, c_diagonal)
    d = diagonal_weight(weights, c_diagonal)

    alpha = 2 * weights.off_diagonal / n**2

    def gradient(k_other: Tensor, shift_other: Tensor, y: Tensor, y_other: Tensor, rstd: Tensor) -> Tensor:
        dy = alpha * (k_other @ y) + y_other * (d / n)
        # Of alpha * shift * y, which k lacks, the standardization takes out all but this share.
        extra = alpha * shift_other * options.eps * rstd**2
        return standardize_backward(dy, y, rstd, options.unbiased, extra).to(z_a.dtype)

    return (
        gradient(k_b, shift_b, y_a, y_b, statistics[2]) if needs[0] else None,
        gradient(k_a, shift_a, y_b, y_a, statistics[5]) if needs[1] else None,
    )


def correlation_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, CorrelationResiduals | None]:
    n, d = z_a.shape
    a, b = (standardize(z, options.eps, options.unbiased) for z in (z_a, z_b))
    c_diagonal = (a.y * b.y).sum(0) / n
    rows = block_rows(n, d)
    off_diagonal = torch.zeros((), dtype=torch.float64, device=z_a.device)
    for start in range(0, d, rows):
        c = a.y[:, start : start + rows].T @ b.y / n  # (rows, D)
        # In float64, so that nothing is lost between two sums over the same numbers.
        off_diagonal += (sum_of_squares(c) - sum_of_squares(c.diagonal(start))).clamp(min=0)
    terms = finish_terms(c_diagonal, off_diagonal, options)
    if not needs_backward:
        return terms, None
    none = c.new_empty(0)
    kept = (c, a.y, b.y) if n >= d else (none, none, none)
    return terms, CorrelationResiduals(c_diagonal, stack_statistics(a, b), *kept)


def correlation_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: CorrelationResiduals,
    options: LossOptions,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    n, d = z_a.shape
    c_diagonal, statistics, kept_c, y_a, y_b = residuals
    if n < d:
        y_a, y_b = standardize_again(z_a, statistics[:3]), standardize_again(z_b, statistics[3:])
    weights = term_weights(gradients, options, c_diagonal)
    diagonal = y_b * (diagonal_weight(weights, c_diagonal) / n), y_a * (diagonal_weight(weights, c_diagonal) / n)
    coefficient = 2 * weights.off_diagonal / n
    rows = block_rows(n, d)
    blocks_a, dy_b = [], diagonal[1]
    for start in range(0, d, rows):
        block = slice(start, start + rows)
        c = kept_c if n >= d else y_a[:, block].T @ y_b / n  # (rows, D)
        if needs[0]:
            blocks_a.append(coefficient * (y_b @ c.T))
        if needs[1]:
            dy_b = dy_b + coefficient * (y_a[:, block] @ c)
    dz_a = dz_b = None
    if needs[0]:
        dy_a = torch.cat(blocks_a, 1) + diagonal[0]
        dz_a = standardize_backward(dy_a, y_a, statistics[2], options.unbiased).to(z_a.dtype)
    if needs[1]:
        dz_b = standardize_backward(dy_b, y_b, statistics[5], options.unbiased).to(z_a.dtype)
    return dz_a, dz_b
