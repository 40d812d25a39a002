"""What torch.compile needs to know of the ops: the shapes and dtypes of their outputs, computed without data.

The backends' ops differ in what they keep for their backward alone, which Kept says. What is not kept is (0,).
opcheck compares the shapes with what the ops return.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.stages import accumulation_dtype


def same(dtype: torch.dtype) -> torch.dtype:
    return dtype


class Kept(NamedTuple):
    """What the forwards of a backend keep for their backwards. By default it is what tensor cores want of it."""

    # (D, N, embeddings' dtype, tf32, device) -> rows of row_squares and of column_squares, (rows, D) float32.
    # None: neither is kept.
    squares: Callable[[int, int, torch.dtype, bool, torch.device], tuple[int, int]] | None
    row_multiple: int  # the rows of y (2, N, D), k (2, N, N) and c_off_diagonal (D, D) are padded to
    matrix_dtype: Callable[[torch.dtype], torch.dtype] = same  # theirs, by the embeddings'
    statistics: tuple[int, ...] = (2,)  # the sizes before D; (2,): rstd; (2, 3): mean, residual_mean and rstd
    numbers_dtype: torch.dtype = torch.float32  # of statistics, c_diagonal (D,) and shifts (2,)
    y_without_c: bool = True  # False: one process computes y again in its backward, unless c_off_diagonal is kept
    c_in_place: bool = False  # correlation_total makes c_off_diagonal in c itself, and does not return it
    # The second view's y and k begin right behind the first's: 0. Or at the next multiple of so many numbers, with
    # some between: contiguous for some sizes, torch.compile would ask for which, and compile again for the others.
    apart: int = 0

    def matrix(self, like: Tensor, dtype: torch.dtype, keep: bool, rows: int, columns: int) -> Tensor:
        padded = -(-columns // self.row_multiple) * self.row_multiple
        return like.new_empty((rows, padded) if keep else (0,), dtype=self.matrix_dtype(dtype))

    def pair(self, like: Tensor, dtype: torch.dtype, keep: bool, rows: int, columns: int) -> Tensor:
        """One matrix for each view."""
        if not keep:
            return self.matrix(like, dtype, False, rows, columns)
        padded = -(-columns // self.row_multiple) * self.row_multiple
        view = (rows * padded // self.apart + 1) * self.apart if self.apart else rows * padded
        return like.new_empty_strided((2, rows, padded), (view, padded, 1), dtype=self.matrix_dtype(dtype))

    def of_features(self, like: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """c_diagonal, statistics."""
        statistics = like.new_empty((*self.statistics, d), dtype=self.numbers_dtype)
        return like.new_empty(d, dtype=self.numbers_dtype), statistics

    def of_k(self, like: Tensor, dtype: torch.dtype, keep: bool, n: int) -> tuple[Tensor, Tensor]:
        """shifts, k."""
        return like.new_empty(2 if keep else 0, dtype=self.numbers_dtype), self.pair(like, dtype, keep, n, n)

    def of_c(self, like: Tensor, dtype: torch.dtype, keep: bool, n: int, d: int, tf32: bool) -> tuple[Tensor, ...]:
        """c_off_diagonal, row_squares, column_squares."""
        sizes: list[tuple[int, ...]] = [(0,), (0,)]
        if keep and self.squares is not None:
            sizes = [(rows, d) for rows in self.squares(d, n, dtype, tf32, like.device)]
        squares = (like.new_empty(size, dtype=torch.float32) for size in sizes)
        return self.matrix(like, dtype, keep, d, d), *squares


def terms(like: Tensor, dtype: torch.dtype) -> list[Tensor]:
    return [like.new_empty((), dtype=accumulation_dtype(dtype)) for _ in range(3)]


def gram_forward(kept: Kept, z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    (n, d), dtype = z_a.shape, z_a.dtype
    y = kept.pair(z_a, dtype, needs_backward and kept.y_without_c, n, d)
    return *terms(z_a, dtype), *kept.of_features(z_a, d), y, *kept.of_k(z_a, dtype, needs_backward, n)


def gram_partial(kept: Kept, z_a, z_b, given_statistics, eps, unbiased, tf32, needs_backward):
    (n, d), dtype = z_a.shape, z_a.dtype
    triangles = z_a.new_empty(2, n * (n + 1) // 2, dtype=accumulation_dtype(dtype))
    y = kept.pair(z_a, dtype, needs_backward and kept.y_without_c, n, d)
    return triangles, z_a.new_empty(4, dtype=torch.float64), *kept.of_features(z_a, d), y


def gram_total(kept: Kept, triangles, sums, n, dtype, lambd, scale, tf32, needs_backward):
    return *terms(sums, dtype), *kept.of_k(sums, dtype, needs_backward, n)


def correlation_forward(kept: Kept, z_a, z_b, lambd, scale, eps, unbiased, tf32, needs_backward):
    (n, d), dtype = z_a.shape, z_a.dtype
    c_diagonal, statistics = kept.of_features(z_a, d)
    keep_c = needs_backward and n >= d
    y = kept.pair(z_a, dtype, keep_c or (needs_backward and kept.y_without_c), n, d)
    return *terms(z_a, dtype), statistics, y, c_diagonal, *kept.of_c(z_a, dtype, keep_c, n, d, tf32)


def correlation_partial(kept: Kept, z_a, z_b, given_statistics, samples, tf32, needs_backward):
    (rows, d), dtype = z_a.shape, z_a.dtype
    _, statistics = kept.of_features(z_a, d)
    c = z_a.new_empty(d, d, dtype=accumulation_dtype(dtype))
    return c, statistics, kept.pair(z_a, dtype, needs_backward, rows, d)


def correlation_total(kept: Kept, c, n, dtype, lambd, scale, tf32, needs_backward):
    d = c.shape[0]
    keep_c = needs_backward and not kept.c_in_place
    return *terms(c, dtype), kept.of_features(c, d)[0], *kept.of_c(c, dtype, keep_c, n, d, tf32)


def backward(kept: Kept, grad_loss, grad_on_diagonal, grad_off_diagonal, z_a, *residuals_and_options):
    return tuple(z_a.new_empty(z_a.shape) if need else None for need in residuals_and_options[-2:])


SHAPES: dict[str, Callable[..., Any]] = {
    "gram_forward": gram_forward,
    "gram_partial": gram_partial,
    "gram_total": gram_total,
    "gram_backward": backward,
    "correlation_forward": correlation_forward,
    "correlation_partial": correlation_partial,
    "correlation_total": correlation_total,
    "correlation_backward": backward,
}


def shapes_of(op: str, kept: Kept) -> Callable[..., Any]:
    """(arguments of the op) -> its outputs, without data."""
    return partial(SHAPES[op], kept)
