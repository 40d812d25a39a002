"""The eager backend: both formulations in plain PyTorch ops, on any device. Read it beside docs/mathematics.md.

Embeddings of 16 bits are standardized, multiplied and reduced in float32, and the gradient is rounded to 16 bits
once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import has_float64, inner_product, sum_of_squares, zero
from bt_kernels.backends.stages import (
    Availability,
    Batch,
    CorrelationPartial,
    GramPartial,
    OutputGradients,
    Residuals,
    Statistics,
    Terms,
    accumulation_dtype,
    variance_divisor,
)
from bt_kernels.backends.standardize import StandardizedView, split_mean, standardize
from bt_kernels.options import LossOptions

# Rows of C alive at a time when correlation is forced with N < D.
BLOCK_ROWS = 256


class TermWeights(NamedTuple):
    """What the gradients of the three outputs amount to for the two terms."""

    on_diagonal: Tensor  # ()
    off_diagonal: Tensor  # ()


def availability(device: torch.device, dtype: torch.dtype) -> Availability:
    if dtype == torch.float64 and not has_float64(device):
        return Availability(False, f"there is no float64 on {device.type}")
    return Availability(True, "plain PyTorch ops")


def standardize_again(z: Tensor, statistics: Tensor, view: int) -> Tensor:  # (N, D), (3, 2, D) -> (N, D)
    """The forward's y, bit for bit: computing it again is cheaper than keeping it."""
    mean, residual_mean, rstd = statistics[:, view]
    return (z.to(mean.dtype) - mean - residual_mean) * rstd


def stack_statistics(a: StandardizedView, b: StandardizedView) -> Tensor:  # (3, 2, D)
    # By name: Dynamo of torch 2.6 takes no slice of a NamedTuple.
    rows = torch.stack([a.mean, b.mean, a.residual_mean, b.residual_mean, a.rstd, b.rstd])
    return rows.unflatten(0, (3, 2))


def standardize_both(z_a: Tensor, z_b: Tensor, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    """y_a, y_b and the statistics of both, (3, 2, D)."""
    a, b = (standardize(z, options.eps, options.unbiased) for z in (z_a, z_b))
    return a.y, b.y, stack_statistics(a, b)


def standardize_as_given(z_a: Tensor, z_b: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """The same with statistics from elsewhere."""
    mean, residual_mean = split_mean(statistics.mean, statistics.residual_mean, accumulation_dtype(z_a.dtype))
    rstd = statistics.rstd.to(mean.dtype)
    kept = torch.stack([mean, residual_mean, rstd])
    return standardize_again(z_a, kept, 0), standardize_again(z_b, kept, 1), kept


def block_rows(n: int, d: int) -> int:
    """Rows of C to hold at a time: all of them where C is not larger than an embedding."""
    return d if n >= d else min(d, BLOCK_ROWS)


def shifted_gram(y: Tensor) -> tuple[Tensor, Tensor]:  # (N, D) -> (N, N), ()
    """K - shift * I with K = y y^T, and shift = trace(K) / N. K's diagonal dwarfs the rest: summed in float64."""
    k = y @ y.T
    diagonal = sum_of_squares(y, 1)
    shift = diagonal.mean()
    k.diagonal().copy_(diagonal - shift)
    return k, shift


def finish_terms(on_diagonal: Tensor, off_diagonal: Tensor, options: LossOptions) -> Terms:
    """The loss and its terms from the sum of (1 - C_ii)^2 and that of the other C_ij^2, () float64."""
    off_diagonal = off_diagonal.to(on_diagonal)
    return options.scale * (on_diagonal + options.lambd * off_diagonal), on_diagonal, off_diagonal


def term_weights(gradients: OutputGradients, options: LossOptions, like: Tensor) -> TermWeights:
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    loss, on_diagonal, off_diagonal = (zero if g is None else g.to(like.dtype) for g in gradients)
    return TermWeights(on_diagonal + options.scale * loss, off_diagonal + options.scale * options.lambd * loss)


def diagonal_weight(weights: TermWeights, c_diagonal: Tensor) -> Tensor:  # (D,) -> (D,)
    """The Gram form's d_i: what the diagonal of dloss/dC has beyond 2 * off_diagonal * C_ii."""
    return 2 * (weights.on_diagonal * (c_diagonal - 1) - weights.off_diagonal * c_diagonal)


def standardize_backward(
    dy: Tensor, y: Tensor, rstd: Tensor, taken_out: Tensor | float, extra: Tensor | float = 0
) -> Tensor:
    """dloss/dz from dloss/dy + extra * y, (N, D), where extra is what the standardization does not take out.

    taken_out = sum_n dy * y / M, (D,), over the whole batch; 0 where y came standardized. The columns of dy sum to
    zero here, so the usual term with their mean is absent.
    """
    return rstd * (dy - y * (taken_out - extra))


def gram_matrices(y_a: Tensor, y_b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """C_ii, (D,); K_a and K_b less their shifts, (N, N); the shifts, (2,) float64."""
    c_diagonal = (y_a * y_b).sum(0) / y_a.shape[0]
    (k_a, shift_a), (k_b, shift_b) = shifted_gram(y_a), shifted_gram(y_b)
    return c_diagonal, k_a, k_b, torch.stack([shift_a, shift_b])


def gram_off_diagonal(k_a: Tensor, k_b: Tensor, shifts: Tensor, diagonal_squares: Tensor) -> Tensor:
    """() float64: what <K_a, K_b> / N^2 has beyond the sum of C_ii^2, K with the shift put back."""
    n = k_a.shape[0]
    # The traces of what is left after the shift are zero.
    product = inner_product(k_a, k_b) + n * shifts.prod()
    # A sum of squares: where rounding in the difference leaves less than nothing, it was nothing. clamp keeps NaN.
    return (product / n**2 - diagonal_squares).clamp(min=0)


def gram_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    y_a, y_b, statistics = standardize_both(z_a, z_b, options)
    c_diagonal, k_a, k_b, shifts = gram_matrices(y_a, y_b)
    off_diagonal = gram_off_diagonal(k_a, k_b, shifts, sum_of_squares(c_diagonal))
    terms = finish_terms(((1 - c_diagonal) ** 2).sum(), off_diagonal, options)
    return terms, (c_diagonal, statistics, shifts, k_a, k_b) if needs_backward else None


def gram_partial(
    z_a: Tensor, z_b: Tensor, options: LossOptions, statistics: Statistics | None, needs_backward: bool
) -> GramPartial:
    if statistics is None:
        y_a, y_b, own_statistics = standardize_both(z_a, z_b, options)
    else:
        y_a, y_b, own_statistics = standardize_as_given(z_a, z_b, statistics)
    c_diagonal, k_a, k_b, shifts = gram_matrices(y_a, y_b)
    rows, columns = torch.triu_indices(*k_a.shape, device=k_a.device)
    sums = torch.stack([sum_of_squares(1 - c_diagonal), sum_of_squares(c_diagonal), *shifts])
    residuals = (c_diagonal, own_statistics) if needs_backward else ()
    return GramPartial(torch.stack([k[rows, columns] for k in (k_a, k_b)]), sums, residuals)


def gram_total(
    triangles: Tensor, sums: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    rows, columns = torch.triu_indices(n, n, device=triangles.device)
    k_a, k_b = triangles.new_empty(2, n, n)
    for k, upper in zip((k_a, k_b), triangles, strict=True):
        k[rows, columns] = upper
        k[columns, rows] = upper
    on_diagonal, diagonal_squares, shifts = sums[0], sums[1], sums[2:]
    off_diagonal = gram_off_diagonal(k_a, k_b, shifts, diagonal_squares)
    terms = finish_terms(on_diagonal.to(triangles), off_diagonal, options)
    return terms, (shifts, k_a, k_b) if needs_backward else ()


def gram_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    n = z_a.shape[0]
    c_diagonal, statistics, shifts, k_a, k_b = residuals
    y_a, y_b = standardize_again(z_a, statistics, 0), standardize_again(z_b, statistics, 1)
    shift_a, shift_b = shifts.to(c_diagonal)
    weights = term_weights(gradients, options, c_diagonal)
    diagonal = diagonal_weight(weights, c_diagonal)

    alpha = 2 * weights.off_diagonal / n**2

    def gradient(k_other: Tensor, shift_other: Tensor, y: Tensor, y_other: Tensor, rstd: Tensor) -> Tensor:
        dy = alpha * (k_other @ y) + y_other * (diagonal / n)
        lacking = alpha * shift_other  # times y: what k lacks
        if batch.standardized:
            return standardize_backward(dy, y, rstd, 0, lacking).to(z_a.dtype)
        # The standardization takes out all but this share. rstd^2 by itself may overflow, where eps is 0.
        extra = lacking * options.eps * rstd * rstd
        taken_out = (dy * y).sum(0) / variance_divisor(n, options.unbiased)
        return standardize_backward(dy, y, rstd, taken_out, extra).to(z_a.dtype)

    return (
        gradient(k_b, shift_b, y_a, y_b, statistics[2, 0]) if needs[0] else None,
        gradient(k_a, shift_a, y_b, y_a, statistics[2, 1]) if needs[1] else None,
    )


def off_diagonal_rows(
    y_a: Tensor,  # (N, D)
    y_b: Tensor,  # (N, D)
    n: int,  # not read off y_a.shape: within a loop, Dynamo of torch 2.11 has no answer to that
    first: int,
    rows: int,
) -> Tensor:  # (rows, D)
    """Rows of C from the given one on, without its diagonal."""
    c_off_diagonal = y_a[:, first : first + rows].T @ y_b / n
    # Left out here, before anything is summed: the rounding of C_ii is in no off-diagonal sum or gradient.
    c_off_diagonal.diagonal(first).zero_()
    return c_off_diagonal


def correlation_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    n, d = z_a.shape
    y_a, y_b, statistics = standardize_both(z_a, z_b, options)
    c_diagonal = (y_a * y_b).sum(0) / n
    rows = block_rows(n, d)
    off_diagonal = zero(z_a.device)
    for start in range(0, d, rows):
        c_off_diagonal = off_diagonal_rows(y_a, y_b, n, start, rows)
        off_diagonal += sum_of_squares(c_off_diagonal)
    terms = finish_terms(((1 - c_diagonal) ** 2).sum(), off_diagonal, options)
    if not needs_backward:
        return terms, None
    if n < d:  # the backward computes them again
        y_a = y_b = c_off_diagonal = y_a.new_empty(0)
    return terms, (statistics, y_a, y_b, c_diagonal, c_off_diagonal)


def correlation_partial(
    z_a: Tensor, z_b: Tensor, statistics: Statistics, samples: int, needs_backward: bool
) -> CorrelationPartial:
    y_a, y_b, own_statistics = standardize_as_given(z_a, z_b, statistics)
    c = y_a.T @ y_b / samples
    c.diagonal().copy_((y_a * y_b).sum(0) / samples)
    return CorrelationPartial(c, (own_statistics, y_a, y_b) if needs_backward else ())


def correlation_total(
    c: Tensor, n: int, dtype: torch.dtype, options: LossOptions, needs_backward: bool
) -> tuple[Terms, Residuals]:
    c_diagonal = c.diagonal().clone()
    c.diagonal().zero_()
    terms = finish_terms(((1 - c_diagonal) ** 2).sum(), sum_of_squares(c), options)
    return terms, (c_diagonal, c) if needs_backward else ()


def correlation_backward(
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    rows_here, features = z_a.shape
    n = rows_here if batch.samples is None else batch.samples
    statistics, y_a, y_b, c_diagonal, c_off_diagonal = residuals
    kept = c_off_diagonal.numel() > 0
    if not kept:
        y_a, y_b = standardize_again(z_a, statistics, 0), standardize_again(z_b, statistics, 1)
    weights = term_weights(gradients, options, c_diagonal)
    diagonal = 2 * weights.on_diagonal * (c_diagonal - 1)
    coefficient = 2 * weights.off_diagonal / n
    rows = features if kept else block_rows(n, features)
    blocks_a, row_squares = [], []
    dy_b, column_squares = y_a * (diagonal / n), torch.zeros_like(c_diagonal)
    for start in range(0, features, rows):
        block = slice(start, start + rows)
        c_rows = c_off_diagonal if kept else off_diagonal_rows(y_a, y_b, n, start, rows)
        if needs[0]:
            blocks_a.append(coefficient * (y_b @ c_rows.T))
            row_squares.append((c_rows * c_rows).sum(1))
        if needs[1]:
            dy_b = dy_b + coefficient * (y_a[:, block] @ c_rows)
            column_squares += (c_rows * c_rows).sum(0)

    def gradient(dy: Tensor, y: Tensor, rstd: Tensor, squares: Tensor) -> Tensor:
        # Rows that are not here count as well: not the sum of dy * y over those at hand, but what C knows of all.
        q = 2 * weights.off_diagonal * squares + diagonal * c_diagonal
        taken_out = 0 if batch.standardized else q / variance_divisor(n, options.unbiased)
        return standardize_backward(dy, y, rstd, taken_out).to(z_a.dtype)

    dz_a = dz_b = None
    if needs[0]:
        dy_a = torch.cat(blocks_a, 1) + y_b * (diagonal / n)
        dz_a = gradient(dy_a, y_a, statistics[2, 0], torch.cat(row_squares))
    if needs[1]:
        dz_b = gradient(dy_b, y_b, statistics[2, 1], column_squares)
    return dz_a, dz_b
