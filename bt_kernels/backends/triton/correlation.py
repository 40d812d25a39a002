"""Launches the correlation form: reduce (correlation_tiles, correlation_combine, finish) and gradient.

In halves: partial ends with C in float32, total begins with correlation_total.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients
from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.kernels.correlation_combine import correlation_combine_kernel
from bt_kernels.backends.triton.kernels.correlation_gradient import correlation_gradient_kernel
from bt_kernels.backends.triton.kernels.correlation_tiles import correlation_tiles_kernel
from bt_kernels.backends.triton.kernels.correlation_total import correlation_total_kernel
from bt_kernels.backends.triton.kernels.finish import finish_kernel
from bt_kernels.backends.triton.launch import (
    Operands,
    freedom,
    on_device_of,
    operands,
    options,
    padded,
    product_tile,
    properties,
    scalars,
)
from bt_kernels.backends.triton.standardize import standardize, standardize_as_given


def forward(
    z_a: Tensor, z_b: Tensor, lambd: float, scale: float, eps: float, unbiased: bool, needs_backward: bool
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, rstd, y, c_diagonal, c, row_squares, column_squares.

    y is (0,) without needs_backward, and the last three are then and for N < D: the backward computes C again.
    """
    n, d = z_a.shape
    kind = operands(z_a.dtype)
    keep = needs_backward and n >= d
    with on_device_of(z_a):
        y, rstd, c_diagonal, sums = standardize(z_a, z_b, eps, unbiased, kind)
        squares, kept = reductions(n, d, kind, keep, y)
        multiply(y, d, n, kind, squares=squares, **kept)
        terms = finish(n, sums, squares, lambd, scale)
    return *terms, rstd, y if needs_backward else y.new_empty(0), c_diagonal, *present(kept, y)


def partial(
    z_a: Tensor,  # (any number of rows, D)
    z_b: Tensor,
    mean: Tensor,  # (2, D) float64
    rstd: Tensor,  # (2, D) float64
    samples: int,  # of the whole batch
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """c (D, D) float32, rstd, y; y is (0,) if not needed."""
    d = z_a.shape[1]
    kind = operands(z_a.dtype)
    with on_device_of(z_a):
        y, rstd, c_diagonal, _ = standardize_as_given(z_a, z_b, mean, rstd, samples, kind)
        whole = y.new_empty(d, d, dtype=torch.float32)
        multiply(y, d, samples, kind, whole=whole, c_diagonal=c_diagonal)
    return whole, rstd, y if needs_backward else y.new_empty(0)


def total(
    whole: Tensor,  # (D, D) float32
    n: int,
    dtype: torch.dtype,
    lambd: float,
    scale: float,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, c_diagonal, c, row_squares, column_squares.

    The last three are (0,) without needs_backward.
    """
    d = whole.shape[0]
    kind = operands(dtype)
    tile = product_tile(kind, n, whole.device)
    like = whole.new_empty(0, dtype=dtype)
    with on_device_of(whole):
        squares, kept = reductions(n, d, kind, needs_backward, like)
        c_diagonal, distances = whole.new_empty(d), torch.empty_like(squares)
        correlation_total_kernel[squares.shape](
            whole,
            c_diagonal,
            distances,
            squares,
            **kept,
            ldc=padded(d),
            D=d,
            TF32=kind.tf32,
            BLOCK_M=tile.m,
            BLOCK_N=tile.n,
            GROUP=heuristics.GROUP,
            **options(heuristics.combine_warps(tile)),
        )
        terms = finish(n, distances[None], squares, lambd, scale)
    return *terms, c_diagonal, *present(kept, like)


def reductions(n: int, d: int, kind: Operands, keep: bool, like: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """squares (tiles,), and what the backward keeps by the names of the kernels' parameters: empty, or None."""
    tile = product_tile(kind, n, like.device)
    side_m, side_n = triton.cdiv(d, tile.m), triton.cdiv(d, tile.n)
    kept = {
        "c": like.new_empty(d, padded(d)) if keep else None,
        "row_squares": like.new_empty(side_n, d, dtype=torch.float32) if keep else None,
        "column_squares": like.new_empty(side_m, d, dtype=torch.float32) if keep else None,
    }
    return like.new_empty(side_m * side_n, dtype=torch.float64), kept


def present(kept: dict[str, Tensor | None], like: Tensor) -> list[Tensor]:
    return [like.new_empty(0) if x is None else x for x in kept.values()]


def finish(n: int, sums: Tensor, squares: Tensor, lambd: float, scale: float) -> list[Tensor]:
    """loss, on_diagonal, off_diagonal."""
    terms = scalars(sums, 3)
    finish_kernel[(1,)](sums, sums.shape[1], squares, squares.numel(), *terms, None, n, lambd, scale, **options(4))
    return terms


def multiply(
    y: Tensor,  # (2, N, ld)
    d: int,
    samples: int,  # of the whole batch
    kind: Operands,
    *,
    view: int = 0,
    first_row: int = 0,
    height: int | None = None,
    squares: Tensor | None = None,
    row_squares: Tensor | None = None,
    column_squares: Tensor | None = None,
    c: Tensor | None = None,
    whole: Tensor | None = None,
    c_diagonal: Tensor | None = None,
) -> None:
    """Rows first_row .. first_row + height of C (view 0) or C^T (view 1), into whichever outputs are given."""
    _, n, ld = y.shape
    height = d if height is None else height
    gpu = properties(y.device)
    tile = product_tile(kind, n, y.device)
    tiles = triton.cdiv(height, tile.m) * triton.cdiv(d, tile.n)
    steps = triton.cdiv(n, tile.k)
    budget = n * ld * kind.itemsize
    splits = heuristics.split_factor(tiles, steps, gpu.multiprocessors, 4 * tiles * tile.m * tile.n, budget)
    share = triton.cdiv(steps, splits) * tile.k
    splits = triton.cdiv(n, share)
    partial = y.new_empty(splits, tiles, tile.m, tile.n, dtype=torch.float32) if splits > 1 else None
    outputs = {
        "squares": squares,
        "row_squares": row_squares,
        "column_squares": column_squares,
        "c": c,
        "whole": whole,
        "c_diagonal": c_diagonal,
    }
    where = {"ldc": padded(d), "first_row": first_row, "height": height, "samples": samples, "D": d}
    shape = {"TF32": kind.tf32, "BLOCK_M": tile.m, "BLOCK_N": tile.n, "GROUP": heuristics.GROUP}
    correlation_tiles_kernel[(splits * tiles,)](
        y,
        ld,
        partial,
        **(outputs if splits == 1 else dict.fromkeys(outputs)),
        **where,
        share=share,
        N=n,
        OWN=view,
        PRECISION=kind.precision,
        BLOCK_K=tile.k,
        EVEN_N=n % tile.k == 0,
        **shape,
        **options(tile.warps, tile.stages),
    )
    if splits > 1:
        warps = heuristics.combine_warps(tile)
        correlation_combine_kernel[(tiles,)](partial, splits, **outputs, **where, **shape, **options(warps))


def backward(
    gradients: OutputGradients,
    z: Tensor,  # (rows, D): for its shape and dtype
    rstd: Tensor,  # (2, D)
    y: Tensor,  # (2, rows, ld)
    c_diagonal: Tensor,  # (D,)
    c: Tensor,  # (D, ldc), or (0,): C is computed again, from these rows; so the next two
    row_squares: Tensor,  # (tiles, D)
    column_squares: Tensor,  # (tiles, D)
    lambd: float,
    scale: float,
    samples: int | None,
    correction: int | None,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    n, d = z.shape
    samples = n if samples is None else samples
    kind = operands(z.dtype)
    dz_a, dz_b = (torch.empty_like(z, memory_format=torch.contiguous_format) if need else None for need in needs)
    for view, dz in enumerate((dz_a, dz_b)):
        if dz is None:
            continue
        # What the gradient's kernel needs whichever part of C it is given, by the names of its parameters.
        epilogue = {
            "grad_loss": gradients.loss,
            "grad_on_diagonal": gradients.on_diagonal,
            "grad_off_diagonal": gradients.off_diagonal,
            "y": y,
            "ld": y.shape[2],
            "rstd": rstd,
            "c_diagonal": c_diagonal,
            "dz": dz,
            "N": n,
            "samples": samples,
            "D": d,
            "lambd": lambd,
            "scale": scale,
            "freedom": freedom(samples, correction),
            "VIEW": view,
        }
        with on_device_of(z):
            if c.numel() == 0:
                gradient_by_panels(epilogue, kind)
            elif view == 0:
                gradient(c, (c.stride(0), 1), row_squares, 0, epilogue, kind)
            else:
                gradient(c, (1, c.stride(0)), column_squares, 0, epilogue, kind)
    return dz_a, dz_b


def gradient_by_panels(epilogue: dict, kind: Operands) -> None:
    """N < D: rows of C (view 0) or C^T (view 1) are computed again, a panel at a time, and used at once."""
    n, d, y, view = (epilogue[name] for name in ("N", "D", "y", "VIEW"))
    panel = min(d, max(heuristics.FORCED_PANEL, 2 * n))
    column_tiles = triton.cdiv(d, product_tile(kind, n, y.device).n)
    c = y.new_empty(panel, padded(d))
    squares = y.new_empty(column_tiles * panel, dtype=torch.float32)
    for first in range(0, d, panel):
        height = min(panel, d - first)
        here = squares[: column_tiles * height].view(column_tiles, height)
        multiply(y, d, n, kind, view=view, first_row=first, height=height, row_squares=here, c=c)
        gradient(c, (c.stride(0), 1), here, first, epilogue, kind)


def gradient(
    c: Tensor,
    strides: tuple[int, int],  # of c: own feature, other view's feature
    squares: Tensor,  # (tiles, width)
    first_column: int,
    epilogue: dict,
    kind: Operands,
) -> None:
    """dz[:, first_column : first_column + width] from the rows of C (or C^T) that belong to these features."""
    n, d = epilogue["N"], epilogue["D"]
    count, width = squares.shape
    gpu = properties(c.device)

    def rounds(tile: heuristics.Tile) -> int:
        return triton.cdiv(triton.cdiv(n, tile.m) * triton.cdiv(width, tile.n), gpu.multiprocessors)

    tile = heuristics.pick_by_rounds(heuristics.CORRELATION_GRADIENT, kind.kind, n, kind.itemsize, gpu, rounds)
    correlation_gradient_kernel[(triton.cdiv(n, tile.m) * triton.cdiv(width, tile.n),)](
        **epilogue,
        c=c,
        stride_i=strides[0],
        stride_j=strides[1],
        squares=squares,
        count=count,
        width=width,
        first_column=first_column,
        PRECISION=kind.precision,
        BLOCK_M=tile.m,
        BLOCK_N=tile.n,
        BLOCK_K=tile.k,
        GROUP=heuristics.GROUP,
        EVEN_D=d % tile.k == 0,
        **options(tile.warps, tile.stages),
    )
