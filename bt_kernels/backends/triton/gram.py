"""Launches the Gram form: reduce (gram_tiles, gram_combine, finish) and gradient (gram_gradient, or by panels)."""

import torch
import triton
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients
from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.heuristics import Gpu, Tile
from bt_kernels.backends.triton.kernels.finish import finish_kernel
from bt_kernels.backends.triton.kernels.gram_apply import gram_apply_kernel
from bt_kernels.backends.triton.kernels.gram_combine import gram_combine_kernel
from bt_kernels.backends.triton.kernels.gram_gradient import gram_gradient_kernel
from bt_kernels.backends.triton.kernels.gram_product import gram_product_kernel
from bt_kernels.backends.triton.kernels.gram_tiles import gram_tiles_kernel
from bt_kernels.backends.triton.launch import (
    Operands,
    on_device_of,
    operands,
    options,
    padded,
    properties,
    scalars,
)
from bt_kernels.backends.triton.standardize import standardize


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
    z_a: Tensor, z_b: Tensor, lambd: float, scale: float, eps: float, unbiased: bool, needs_backward: bool
) -> tuple[Tensor, ...]:
    """loss, on_diagonal, off_diagonal, c_diagonal, rstd, shifts, y, k; the last two are (0,) if not needed."""
    kind = operands(z_a.dtype)
    with on_device_of(z_a):
        y, rstd, c_diagonal, sums = standardize(z_a, z_b, eps, unbiased, kind)
        k, inner = multiply(y, sums, needs_backward, kind)
        terms = scalars(y, 3)
        shifts = y.new_empty(2, dtype=torch.float32)
        finish_kernel[(1,)](
            sums, sums.shape[1], inner, inner.numel(), *terms, shifts, y.shape[1], lambd, scale, **options(4)
        )
    if not needs_backward:
        y, k = y.new_empty(0), y.new_empty(0)
    return *terms, c_diagonal, rstd, shifts, y, k


def multiply(
    y: Tensor,  # (2, N, ld)
    sums: Tensor,  # (4, programs) of standardize
    needs_k: bool,
    kind: Operands,
) -> tuple[Tensor | None, Tensor]:
    """K (2, N, ldk) if it is needed, and shares of <K_a, K_b>."""
    _, n, ld = y.shape
    gpu = properties(y.device)
    tile = heuristics.pick(heuristics.GRAM_TILES, kind.kind, n, kind.itemsize, gpu)
    splits, share = gram_splits(n, ld, tile, kind.itemsize, gpu)
    side = triton.cdiv(n, tile.m)
    tiles = side * (side + 1) // 2
    partial = y.new_empty(splits, 2, tiles, tile.m, tile.n, dtype=torch.float32)
    gram_tiles_kernel[(splits * 2 * tiles,)](
        y,
        ld,
        partial,
        n,
        side,
        share,
        PRECISION=kind.precision,
        BLOCK=tile.m,
        BLOCK_K=tile.k,
        **options(tile.warps, tile.stages),
    )
    ldk = padded(n)
    k = y.new_empty(2, n, ldk) if needs_k else None
    strips = tile.m // heuristics.COMBINE_ROWS
    inner = y.new_empty(tiles * strips, dtype=torch.float64)
    gram_combine_kernel[(tiles, strips)](
        partial,
        sums,
        sums.shape[1],
        inner,
        k,
        ldk,
        n,
        side,
        splits,
        TF32=kind.tf32,
        BLOCK=tile.m,
        ROWS=heuristics.COMBINE_ROWS,
        **options(4),
    )
    return k, inner


def backward(
    gradients: OutputGradients,
    z: Tensor,  # (N, D): for its shape and dtype
    c_diagonal: Tensor,  # (D,)
    rstd: Tensor,  # (2, D)
    shifts: Tensor,  # (2,)
    y: Tensor,  # (2, N, ld)
    k: Tensor,  # (2, N, ldk)
    lambd: float,
    scale: float,
    eps: float,
    unbiased: bool,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    if not any(needs):
        return None, None
    n, d = z.shape
    dz_a, dz_b = (torch.empty_like(z, memory_format=torch.contiguous_format) if need else None for need in needs)
    # What the kernels behind the product share, by the names of their parameters.
    epilogue = {
        "grad_loss": gradients.loss,
        "grad_on_diagonal": gradients.on_diagonal,
        "grad_off_diagonal": gradients.off_diagonal,
        "y": y,
        "ld": y.shape[2],
        "rstd": rstd,
        "c_diagonal": c_diagonal,
        "shifts": shifts,
        "dz_a": dz_a,
        "dz_b": dz_b,
        "N": n,
        "D": d,
        "lambd": lambd,
        "scale": scale,
        "eps": eps,
        "correction": int(unbiased),
        "FIRST_VIEW": 0 if needs[0] else 1,
        "VIEWS": sum(needs),
    }
    with on_device_of(z):
        (fused_gradient if n <= heuristics.FUSED_MAX_N else panel_gradient)(k, epilogue, operands(z.dtype))
    return dz_a, dz_b


def fused_gradient(k: Tensor, epilogue: dict, kind: Operands) -> None:
    """One launch: each program holds all rows of its features."""
    n, d, ld = epilogue["N"], epilogue["D"], epilogue["ld"]
    tile = heuristics.pick(heuristics.GRAM_GRADIENT, kind.kind, n, kind.itemsize, properties(k.device))
    gram_gradient_kernel[(epilogue["VIEWS"] * triton.cdiv(d, tile.n),)](
        **epilogue,
        k=k,
        ldk=k.shape[2],
        PRECISION=kind.precision,
        BLOCK_N=tile.m,
        BLOCK_D=tile.n,
        BLOCK_K=tile.k,
        EVEN_N=n % tile.k == 0,
        WIDE=tile.m * ld >= 2**31,
        **options(tile.warps, tile.stages),
    )


def panel_gradient(k: Tensor, epilogue: dict, kind: Operands) -> None:
    """Two launches a panel of features: the product, and what needs its sums over all rows."""
    n, d, views = epilogue["N"], epilogue["D"], epilogue["VIEWS"]
    gpu = properties(k.device)
    tile = heuristics.pick(heuristics.GRAM_PRODUCT, kind.kind, n, kind.itemsize, gpu)
    block = heuristics.GRAM_APPLY
    budget = heuristics.panel_budget(n, d, kind.itemsize)
    widest = heuristics.panel_width(n, d, views, tile, gpu.multiprocessors, budget)
    row_tiles = triton.cdiv(n, tile.m)
    product = k.new_empty(views * n * widest, dtype=torch.float32)
    column_sums = k.new_empty(views * row_tiles * widest, dtype=torch.float32)
    for first in range(0, d, widest):
        width = min(widest, padded(d - first, tile.n))
        panel = {"product": product, "column_sums": column_sums, "width": width, "first_column": first}
        gram_product_kernel[(views * row_tiles * (width // tile.n),)](
            **panel,
            **{name: epilogue[name] for name in ("y", "ld", "N", "FIRST_VIEW", "VIEWS")},
            k=k,
            ldk=k.shape[2],
            PRECISION=kind.precision,
            BLOCK_M=tile.m,
            BLOCK_N=tile.n,
            BLOCK_K=tile.k,
            GROUP=heuristics.GROUP,
            EVEN_N=n % tile.k == 0,
            **options(tile.warps, tile.stages),
        )
        gram_apply_kernel[(views * triton.cdiv(n, block.n) * triton.cdiv(width, block.d),)](
            **epilogue,
            **panel,
            count=row_tiles,
            BLOCK_N=block.n,
            BLOCK_D=block.d,
            **options(block.warps),
        )
