"""Launches the correlation form: forward (correlation_tiles, correlation_combine) and backward.

In halves: partial ends with C, total begins with correlation_total.
"""

import torch
import triton
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients, variance_divisor
from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.finish_terms import finish_terms
from bt_kernels.backends.triton.kernels.backward import CorrelationBackward, CorrelationPanel
from bt_kernels.backends.triton.kernels.correlation_backward import correlation_backward_kernel
from bt_kernels.backends.triton.kernels.correlation_combine import correlation_combine_kernel
from bt_kernels.backends.triton.kernels.correlation_epilogue import CorrelationOutputs, CorrelationRows
from bt_kernels.backends.triton.kernels.correlation_tiles import correlation_tiles_kernel
from bt_kernels.backends.triton.kernels.correlation_total import correlation_total_kernel
from bt_kernels.backends.triton.launch import (
    Operands,
    on_device_of,
    operands,
    options,
    padded,
    product_tile,
    properties,
)
from bt_kernels.backends.triton.standardize import standardize, standardize_as_given


def forward(
    z_a: Tensor,
    z_b: Tensor,
    lambd: float,
    scale: float,
    eps: float,
    unbiased: bool,
    tf32: bool,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, rstd, y, c_diagonal, c_off_diagonal, row_squares, column_squares.

    y is (0,) without needs_backward, and the last three are then and for N < D: the backward computes C again.
    """
    n, d = z_a.shape
    kind = operands(z_a.dtype, tf32)
    keep = needs_backward and n >= d
    with on_device_of(z_a):
        y, rstd, c_diagonal, sums = standardize(z_a, z_b, eps, unbiased, kind)
        squares, out = reductions(n, d, kind, keep, y)
        multiply(y, CorrelationRows(0, d, d, n), out, kind)
        terms = finish_terms(n, sums, squares, lambd, scale)
    return *terms, rstd, y if needs_backward else y.new_empty(0), c_diagonal, *kept(out, y)


def partial(
    z_a: Tensor,  # (any number of rows, D)
    z_b: Tensor,
    given_statistics: Tensor,  # (3, 2, D) float64
    samples: int,  # of the whole batch
    tf32: bool,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """c (D, D) float32, rstd, y; y is (0,) if not needed."""
    d = z_a.shape[1]
    kind = operands(z_a.dtype, tf32)
    with on_device_of(z_a):
        y, rstd, c_diagonal, _ = standardize_as_given(z_a, z_b, given_statistics, samples, kind)
        c = y.new_empty(d, d, dtype=torch.float32)
        multiply(y, CorrelationRows(0, d, d, samples), CorrelationOutputs(c=c, c_diagonal=c_diagonal), kind)
    return c, rstd, y if needs_backward else y.new_empty(0)


def total(
    c: Tensor,  # (D, D) float32
    n: int,
    dtype: torch.dtype,
    lambd: float,
    scale: float,
    tf32: bool,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, c_diagonal, c_off_diagonal, row_squares, column_squares.

    The last three are (0,) without needs_backward.
    """
    d = c.shape[0]
    kind = operands(dtype, tf32)
    tile = product_tile(kind, n, c.device)
    like = c.new_empty(0, dtype=dtype)
    with on_device_of(c):
        squares, out = reductions(n, d, kind, needs_backward, like)
        c_diagonal, distances = c.new_empty(d), torch.empty_like(squares)
        correlation_total_kernel[squares.shape](
            c,
            c_diagonal,
            distances,
            out,
            d,
            TF32=kind.tf32,
            BLOCK_M=tile.m,
            BLOCK_N=tile.n,
            GROUP=heuristics.GROUP,
            **options(heuristics.combine_warps(tile)),
        )
        terms = finish_terms(n, distances[None], squares, lambd, scale)
    return *terms, c_diagonal, *kept(out, like)


def reductions(n: int, d: int, kind: Operands, keep: bool, like: Tensor) -> tuple[Tensor, CorrelationOutputs]:
    """squares (tiles,), and with them what the backward keeps: empty, to be filled."""
    tile = product_tile(kind, n, like.device)
    side_m, side_n = triton.cdiv(d, tile.m), triton.cdiv(d, tile.n)
    squares = like.new_empty(side_m * side_n, dtype=torch.float64)
    if not keep:
        return squares, CorrelationOutputs(squares)
    return squares, CorrelationOutputs(
        squares,
        row_squares=like.new_empty(side_n, d, dtype=torch.float32),
        column_squares=like.new_empty(side_m, d, dtype=torch.float32),
        c_off_diagonal=like.new_empty(d, padded(d)),
        ldc=padded(d),
    )


def kept(out: CorrelationOutputs, like: Tensor) -> list[Tensor]:
    """c_off_diagonal, row_squares, column_squares; (0,) where there is none."""
    if out.c_off_diagonal is None or out.row_squares is None or out.column_squares is None:
        return [like.new_empty(0), *(like.new_empty(0, dtype=torch.float32) for _ in range(2))]
    return [out.c_off_diagonal, out.row_squares, out.column_squares]


def multiply(
    y: Tensor,  # (2, N, ld)
    rows: CorrelationRows,
    out: CorrelationOutputs,
    kind: Operands,
    view: int = 0,
) -> None:
    """These rows of C, or for view 1 of its transpose, into what is asked for."""
    _, n, ld = y.shape
    gpu = properties(y.device)
    tile = product_tile(kind, n, y.device)
    tiles = triton.cdiv(rows.height, tile.m) * triton.cdiv(rows.D, tile.n)
    steps = triton.cdiv(n, tile.k)
    budget = n * ld * kind.itemsize
    splits = heuristics.split_factor(tiles, steps, gpu.multiprocessors, 4 * tiles * tile.m * tile.n, budget)
    share = triton.cdiv(steps, splits) * tile.k
    splits = triton.cdiv(n, share)
    split_tiles = y.new_empty(splits, tiles, tile.m, tile.n, dtype=torch.float32) if splits > 1 else None
    shape = {"TF32": kind.tf32, "BLOCK_M": tile.m, "BLOCK_N": tile.n, "GROUP": heuristics.GROUP}
    correlation_tiles_kernel[(splits * tiles,)](
        y,
        ld,
        split_tiles,
        out if split_tiles is None else CorrelationOutputs(),
        rows,
        share,
        n,
        OWN=view,
        PRECISION=kind.precision,
        BLOCK_K=tile.k,
        EVEN_N=n % tile.k == 0,
        **shape,
        **options(tile.warps, tile.stages),
    )
    if split_tiles is not None:
        warps = heuristics.combine_warps(tile)
        correlation_combine_kernel[(tiles,)](split_tiles, splits, out, rows, **shape, **options(warps))


def backward(
    grad_loss: Tensor | None,
    grad_on_diagonal: Tensor | None,
    grad_off_diagonal: Tensor | None,
    z_a: Tensor,  # (rows, D): for its shape and dtype, as z_b is
    z_b: Tensor,
    rstd: Tensor,  # (2, D)
    y: Tensor,  # (2, rows, ld)
    c_diagonal: Tensor,  # (D,)
    c_off_diagonal: Tensor,  # (D, ldc), or (0,): C is computed again, from these rows; so the next two
    row_squares: Tensor,  # (tiles, D)
    column_squares: Tensor,  # (tiles, D)
    lambd: float,
    scale: float,
    samples: int | None,
    unbiased: bool,
    standardized: bool,
    tf32: bool,
    needs_a: bool,
    needs_b: bool,
) -> tuple[Tensor | None, Tensor | None]:
    n, d = z_a.shape
    samples = n if samples is None else samples
    kind = operands(z_a.dtype, tf32)
    dz_a, dz_b = (z_a.new_empty(n, d) if need else None for need in (needs_a, needs_b))
    for view, dz in enumerate((dz_a, dz_b)):
        if dz is None:
            continue
        given = CorrelationBackward(
            gradients=OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal),
            y=y,
            ld=y.shape[2],
            rstd=rstd,
            c_diagonal=c_diagonal,
            dz=dz,
            N=n,
            samples=samples,
            D=d,
            lambd=lambd,
            scale=scale,
            variance_divisor=float(variance_divisor(samples, unbiased)),  # no int, which Triton would specialize
        )
        with on_device_of(z_a):
            if c_off_diagonal.numel() == 0:
                backward_again(given, view, standardized, kind)
                continue
            squares = column_squares if view else row_squares
            own, other = reversed(c_off_diagonal.stride()) if view else c_off_diagonal.stride()
            panel = CorrelationPanel(c_off_diagonal, own, other, squares, squares.shape[0], d, 0)
            backward_panel(given, panel, view, standardized, kind)
    return dz_a, dz_b


def backward_again(given: CorrelationBackward, view: int, standardized: bool, kind: Operands) -> None:
    """N < D: rows of C, or of its transpose, are computed again, a panel at a time, and used at once."""
    n, d, y = given.N, given.D, given.y
    widest = min(d, max(heuristics.FORCED_PANEL, 2 * n))
    column_tiles = triton.cdiv(d, product_tile(kind, n, y.device).n)
    c_off_diagonal = y.new_empty(widest, padded(d))
    squares = y.new_empty(column_tiles * widest, dtype=torch.float32)
    for first in range(0, d, widest):
        width = min(widest, d - first)
        here = squares[: column_tiles * width].view(column_tiles, width)
        out = CorrelationOutputs(row_squares=here, c_off_diagonal=c_off_diagonal, ldc=padded(d))
        multiply(y, CorrelationRows(first, width, d, n), out, kind, view)
        panel = CorrelationPanel(c_off_diagonal, padded(d), 1, here, column_tiles, width, first)
        backward_panel(given, panel, view, standardized, kind)


def backward_panel(
    given: CorrelationBackward, panel: CorrelationPanel, view: int, standardized: bool, kind: Operands
) -> None:
    """dz of the panel's features."""
    gpu = properties(given.y.device)

    def programs(tile: heuristics.Tile) -> int:
        return triton.cdiv(given.N, tile.m) * triton.cdiv(panel.width, tile.n)

    def rounds(tile: heuristics.Tile) -> int:
        return triton.cdiv(programs(tile), gpu.multiprocessors)

    table = heuristics.CORRELATION_BACKWARD
    tile = heuristics.pick_by_rounds(table, kind.kind, given.N, kind.itemsize, gpu, rounds)
    correlation_backward_kernel[(programs(tile),)](
        given,
        panel,
        VIEW=view,
        STANDARDIZED=standardized,
        PRECISION=kind.precision,
        BLOCK_M=tile.m,
        BLOCK_N=tile.n,
        BLOCK_K=tile.k,
        GROUP=heuristics.GROUP,
        EVEN_D=given.D % tile.k == 0,
        **options(tile.warps, tile.stages),
    )
