"""Launches the Gram form: forward (gram_tiles, gram_combine) and backward (gram_backward, or by panels).

In halves, gram_combine runs in both: partial ends and total begins with it.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients, variance_divisor
from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.finish_terms import finish_terms
from bt_kernels.backends.triton.heuristics import Gpu, Tile
from bt_kernels.backends.triton.kernels.backward import GramBackward, GramPanel
from bt_kernels.backends.triton.kernels.gram_apply import gram_apply_kernel
from bt_kernels.backends.triton.kernels.gram_backward import gram_backward_kernel
from bt_kernels.backends.triton.kernels.gram_combine import gram_combine_kernel
from bt_kernels.backends.triton.kernels.gram_product import gram_product_kernel
from bt_kernels.backends.triton.kernels.gram_tiles import gram_tiles_kernel
from bt_kernels.backends.triton.launch import Operands, on_device_of, operands, options, padded, properties
from bt_kernels.backends.triton.standardize import standardize, standardize_as_given


def gram_splits(n: int, ld: int, tile: Tile, itemsize: int, gpu: Gpu) -> tuple[int, int]:
    """Number of shares of the features, and features of a share."""
    side = triton.cdiv(n, tile.m)
    tiles = side * (side + 1)  # of both views
    steps = triton.cdiv(ld, tile.k)
    slots = gpu.multiprocessors * (2 if tile.m <= 64 else 1)
    splits = heuristics.split_factor(tiles, steps, slots, 4 * tiles * tile.m * tile.n, 2 * n * ld * itemsize)
    share = triton.cdiv(steps, splits) * tile.k
    return triton.cdiv(ld, share), share


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
    """loss, on_diagonal, off_diagonal, c_diagonal, rstd, y, shifts, k; the last three are (0,) if not needed."""
    kind = operands(z_a.dtype, tf32)
    n = z_a.shape[0]
    with on_device_of(z_a):
        y, rstd, c_diagonal, sums = standardize(z_a, z_b, eps, unbiased, kind)
        inner, k = reduce(n, kind, sums, needs_backward, z_a.dtype, split_tiles=multiply(y, kind))
        shifts = sums.new_empty(2, dtype=torch.float32)
        terms = finish_terms(n, sums, inner, lambd, scale, shifts)
    if not needs_backward:
        y, shifts = y.new_empty(0), shifts.new_empty(0)
    return *terms, c_diagonal, rstd, y, shifts, k


def partial(
    z_a: Tensor,  # (N, any number of features)
    z_b: Tensor,
    given_statistics: Tensor | None,  # (3, 2, D) float64; None: those of these rows
    eps: float,
    unbiased: bool,
    tf32: bool,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """triangles, totals, c_diagonal, rstd, y; y is (0,) if not needed."""
    kind = operands(z_a.dtype, tf32)
    n = z_a.shape[0]
    with on_device_of(z_a):
        if given_statistics is None:
            y, rstd, c_diagonal, sums = standardize(z_a, z_b, eps, unbiased, kind)
        else:
            y, rstd, c_diagonal, sums = standardize_as_given(z_a, z_b, given_statistics, n, kind)
        triangles = y.new_empty(2, n * (n + 1) // 2, dtype=torch.float32)
        totals = y.new_empty(4, dtype=torch.float64)
        combine(n, kind, sums, split_tiles=multiply(y, kind), triangles=triangles, totals=totals)
    return triangles, totals, c_diagonal, rstd, y if needs_backward else y.new_empty(0)


def total(
    triangles: Tensor,  # (2, N (N + 1) / 2) float32
    sums: Tensor,  # (4,) float64
    n: int,
    dtype: torch.dtype,
    lambd: float,
    scale: float,
    tf32: bool,
    needs_backward: bool,
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, shifts, k; the last two are (0,) if not needed."""
    with on_device_of(triangles):
        sums = sums[:, None]
        inner, k = reduce(n, operands(dtype, tf32), sums, needs_backward, dtype, triangles=triangles)
        shifts = sums.new_empty(2, dtype=torch.float32)
        terms = finish_terms(n, sums, inner, lambd, scale, shifts)
    return *terms, shifts if needs_backward else shifts.new_empty(0), k


class Tiles(NamedTuple):
    """Those of one view's K on or above its diagonal."""

    tile: Tile
    side: int
    number: int


def tiles_of(n: int, kind: Operands, gpu: Gpu) -> Tiles:
    tile = heuristics.pick(heuristics.GRAM_TILES, kind.kind, n, kind.itemsize, gpu)
    side = triton.cdiv(n, tile.m)
    return Tiles(tile, side, side * (side + 1) // 2)


def multiply(y: Tensor, kind: Operands) -> Tensor:  # (2, N, ld) -> (splits, 2, tiles, BLOCK, BLOCK)
    """K_a and K_b, their tiles over shares of the features."""
    _, n, ld = y.shape
    gpu = properties(y.device)
    tile, side, count = tiles_of(n, kind, gpu)
    splits, share = gram_splits(n, ld, tile, kind.itemsize, gpu)
    split_tiles = y.new_empty(splits, 2, count, tile.m, tile.n, dtype=torch.float32)
    gram_tiles_kernel[(splits * 2 * count,)](
        y,
        ld,
        split_tiles,
        n,
        side,
        share,
        PRECISION=kind.precision,
        BLOCK=tile.m,
        BLOCK_K=tile.k,
        **options(tile.warps, tile.stages),
    )
    return split_tiles


def reduce(
    n: int,
    kind: Operands,
    sums: Tensor,
    needs_k: bool,
    dtype: torch.dtype,
    **source: Tensor,  # split_tiles or triangles
) -> tuple[Tensor, Tensor]:
    """Shares of <K_a, K_b>, and K (2, N, ldk) if it is needed, else (0,)."""
    tile, _, count = tiles_of(n, kind, properties(sums.device))
    inner = sums.new_empty(count * (tile.m // heuristics.COMBINE_ROWS))
    k = sums.new_empty(2, n, padded(n), dtype=dtype) if needs_k else None
    combine(n, kind, sums, inner=inner, k=k, **source)
    return inner, sums.new_empty(0, dtype=dtype) if k is None else k


def combine(
    n: int,
    kind: Operands,
    sums: Tensor,  # (4, programs) of standardize
    *,
    split_tiles: Tensor | None = None,
    triangles: Tensor | None = None,
    totals: Tensor | None = None,
    inner: Tensor | None = None,
    k: Tensor | None = None,
) -> None:
    """From split_tiles or, without them, from triangles into the others that are given."""
    tile, side, count = tiles_of(n, kind, properties(sums.device))
    gram_combine_kernel[(count, tile.m // heuristics.COMBINE_ROWS)](
        split_tiles,
        0 if split_tiles is None else split_tiles.shape[0],
        sums,
        sums.shape[1],
        triangles,
        totals,
        inner,
        k,
        padded(n),
        n,
        side,
        TF32=kind.tf32,
        BLOCK=tile.m,
        ROWS=heuristics.COMBINE_ROWS,
        **options(heuristics.COMBINE_ROWS * tile.m // 256),
    )


def backward(
    grad_loss: Tensor | None,
    grad_on_diagonal: Tensor | None,
    grad_off_diagonal: Tensor | None,
    z_a: Tensor,  # (N, D): for its shape and dtype, as z_b is
    z_b: Tensor,
    c_diagonal: Tensor,  # (D,)
    rstd: Tensor,  # (2, D)
    y: Tensor,  # (2, N, ld)
    shifts: Tensor,  # (2,)
    k: Tensor,  # (2, N, ldk)
    lambd: float,
    scale: float,
    eps: float,
    unbiased: bool,
    standardized: bool,
    tf32: bool,
    needs_a: bool,
    needs_b: bool,
) -> tuple[Tensor | None, Tensor | None]:
    if not (needs_a or needs_b):
        return None, None
    n, d = z_a.shape
    dz_a, dz_b = (z_a.new_empty(n, d) if need else None for need in (needs_a, needs_b))
    given = GramBackward(
        gradients=OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal),
        y=y,
        ld=y.shape[2],
        rstd=rstd,
        c_diagonal=c_diagonal,
        shifts=shifts,
        dz_a=dz_a,
        dz_b=dz_b,
        N=n,
        D=d,
        lambd=lambd,
        scale=scale,
        eps=eps,
        variance_divisor=float(variance_divisor(n, unbiased)),  # no int, which Triton would specialize
    )
    views = {"FIRST_VIEW": 0 if needs_a else 1, "VIEWS": needs_a + needs_b}
    with on_device_of(z_a):
        launch = fused_backward if n <= heuristics.FUSED_MAX_N else panel_backward
        launch(given, k, views, standardized, operands(z_a.dtype, tf32))
    return dz_a, dz_b


def fused_backward(
    given: GramBackward, k: Tensor, views: dict[str, int], standardized: bool, kind: Operands
) -> None:
    """One launch: each program holds all rows of its features."""
    gpu = properties(k.device)

    def programs(tile: Tile) -> int:
        return views["VIEWS"] * triton.cdiv(given.D, tile.n)

    def rounds(tile: Tile) -> int:
        return triton.cdiv(programs(tile), gpu.multiprocessors)

    tile = heuristics.pick_by_rounds(heuristics.GRAM_BACKWARD, kind.kind, given.N, kind.itemsize, gpu, rounds)
    gram_backward_kernel[(programs(tile),)](
        given,
        k,
        k.shape[2],
        **views,
        STANDARDIZED=standardized,
        PRECISION=kind.precision,
        BLOCK_N=tile.m,
        BLOCK_D=tile.n,
        BLOCK_K=tile.k,
        EVEN_N=given.N % tile.k == 0,
        PART=heuristics.epilogue_part(tile),
        WIDE=tile.m * given.ld >= 2**31,
        **options(tile.warps, tile.stages),
    )


def panel_backward(
    given: GramBackward, k: Tensor, views: dict[str, int], standardized: bool, kind: Operands
) -> None:
    """Two launches a panel of features: the product, and what needs its sums over all rows."""
    n, d, count = given.N, given.D, views["VIEWS"]
    gpu = properties(k.device)
    block = heuristics.GRAM_APPLY
    budget = heuristics.panel_budget(n, d, kind.itemsize)

    def widest_panel(tile: Tile) -> int:
        return heuristics.panel_width(n, d, count, tile, gpu.multiprocessors, budget)

    def rounds(tile: Tile) -> int:
        return heuristics.panel_rounds(n, d, count, tile, gpu.multiprocessors, widest_panel(tile))

    tile = heuristics.pick_by_rounds(heuristics.GRAM_PRODUCT, kind.kind, n, kind.itemsize, gpu, rounds)
    widest = widest_panel(tile)
    row_tiles = triton.cdiv(n, tile.m)
    product = k.new_empty(count * n * widest, dtype=torch.float32)
    column_sums = k.new_empty(count * row_tiles * widest, dtype=torch.float32)
    for first in range(0, d, widest):
        width = min(widest, padded(d - first, tile.n))
        panel = GramPanel(product, column_sums, width, first)
        gram_product_kernel[(count * row_tiles * (width // tile.n),)](
            given.y,
            given.ld,
            k,
            k.shape[2],
            panel,
            n,
            **views,
            PRECISION=kind.precision,
            BLOCK_M=tile.m,
            BLOCK_N=tile.n,
            BLOCK_K=tile.k,
            GROUP=heuristics.GROUP,
            EVEN_N=n % tile.k == 0,
            **options(tile.warps, tile.stages),
        )
        gram_apply_kernel[(count * triton.cdiv(n, block.n) * triton.cdiv(width, block.d),)](
            given,
            panel,
            row_tiles,
            **views,
            STANDARDIZED=standardized,
            BLOCK_N=block.n,
            BLOCK_D=block.d,
            **options(block.warps),
        )
