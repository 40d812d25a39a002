"""What each kernel of a GPU backend has to move and do in one forward and backward, by the kernel's name.

Bytes through memory, operands read once each. What a backend keeps small enough to stay in the L2 cache between
two kernels, split tiles and the panels of the Gram form's product, is counted beside them.
"""

from typing import NamedTuple

from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CudaDevice
from benchmarks.shared.roofline import Ceilings
from bt_kernels.build_report import host_module
from bt_kernels.formulation import choose_formulation


class Work(NamedTuple):
    """Of all launches of a kernel."""

    bytes: int
    flops: int = 0
    l2_bytes: int = 0  # at least

    def seconds(self, ceilings: Ceilings) -> float:
        """The kernel's floor: L2 is not in it."""
        return max(self.flops / ceilings.flops_per_second, self.bytes / ceilings.bytes_per_second)


def expected_work(cell: Cell, split_tiles_bytes: int) -> dict[str, Work]:
    """Of every kernel that either backend may launch. split_tiles_bytes: of the split tiles of K or C."""
    n, d = cell.n, cell.d
    views = cell.embeddings_bytes  # of both, as z, y or dz
    standardize = Work(2 * views)
    if choose_formulation("auto", n, d) == "gram":
        k = 2 * n * n * cell.itemsize
        product = 2 * 4 * n * d  # float32, both views
        return {
            "standardize": standardize,
            "standardize_gram": Work(2 * views, 2 * n * n * d, split_tiles_bytes),
            "gram_tiles": Work(views, 2 * n * n * d, split_tiles_bytes),
            "gram_combine": Work(k, 0, split_tiles_bytes),
            "gram_backward": Work(2 * views + k, 4 * n * n * d),
            "gram_product": Work(views + k, 4 * n * n * d, product),
            "gram_apply": Work(2 * views, 0, product),
        }
    c = d * d * cell.itemsize
    return {
        "standardize": standardize,
        "correlation_tiles": Work(views + (0 if split_tiles_bytes else c), 2 * n * d * d, split_tiles_bytes),
        "correlation_combine": Work(c, 0, split_tiles_bytes),
        "correlation_backward": Work(2 * (views + c) + views, 4 * n * d * d),  # one launch a view
    }


def triton_split_tiles_bytes(cell: Cell, device: CudaDevice) -> int:
    """As the triton backend splits the features, or the batch."""
    # Not at the top: without Triton it is parse_cell that should say so.
    from bt_kernels.backends.triton import heuristics
    from bt_kernels.backends.triton.gram import gram_splits
    from bt_kernels.backends.triton.launch import operands, padded, product_tile, properties

    kind, gpu = operands(cell.torch_dtype, cell.operands == "tf32"), properties(device.torch_device)
    if choose_formulation("auto", cell.n, cell.d) == "gram":
        tile = heuristics.pick(heuristics.GRAM_TILES, kind.kind, cell.n, kind.itemsize, gpu)
        splits, _ = gram_splits(cell.n, padded(cell.d), tile, kind.itemsize, gpu)
        side = -(-cell.n // tile.m)
        return 4 * splits * side * (side + 1) * tile.m * tile.n
    tile = product_tile(kind, cell.n, device.torch_device)
    tiles, steps = -(-cell.d // tile.m) * -(-cell.d // tile.n), -(-cell.n // tile.k)
    tile_bytes, budget = 4 * tile.m * tile.n, cell.n * padded(cell.d) * kind.itemsize
    splits = heuristics.split_factor(tiles, steps, gpu.multiprocessors, tiles * tile_bytes, budget)
    splits = -(-steps // -(-steps // splits))
    return splits * tiles * tile_bytes if splits > 1 else 0


TILE_ROWS, STEP_BYTES = 128, 128
WIDE_FROM = 512  # samples, in gram: csrc/cuda/launches/family_launches.cuh


class CudaTile(NamedTuple):
    """Of the cuda backend: csrc/cuda/launches/sm90/family.cuh, csrc/cuda/product/portable_product.cuh."""

    columns: int
    blocks: int  # on a multiprocessor
    pair: int  # blocks of a cluster

    @property
    def bytes(self) -> int:
        return 4 * TILE_ROWS * self.columns


PORTABLE, NARROW, WIDE = CudaTile(128, 1, 1), CudaTile(128, 2, 2), CudaTile(256, 1, 2)


def cuda_tile(cell: Cell, capability: tuple[int, int]) -> CudaTile:
    """Of gram_tiles or correlation_tiles, whichever the cell runs."""
    gram = choose_formulation("auto", cell.n, cell.d) == "gram"
    hopper = capability == (9, 0) and (cell.itemsize == 2 or (cell.operands == "tf32" and gram))
    if not hopper:
        return PORTABLE
    return NARROW if gram and cell.n <= WIDE_FROM else WIDE


FUSED_ROWS, FUSED_COLUMNS = 32, 64  # of a warp in standardize_gram: csrc/cuda/product/portable_product.cuh


def fused_split_tiles_bytes(n: int) -> int:
    """Of a block of standardize_gram, whose warps below K's diagonal or beyond N have nothing to store."""
    rows, columns = range(0, n, FUSED_ROWS), range(0, n, FUSED_COLUMNS)
    warps = sum(row < column + FUSED_COLUMNS for row in rows for column in columns)
    return 2 * 4 * warps * FUSED_ROWS * FUSED_COLUMNS


def cuda_split_tiles_bytes(cell: Cell, multiprocessors: int, capability: tuple[int, int]) -> int:
    """As the cuda backend's own functions split the features, or the batch."""
    schedule, tile = host_module().cuda, cuda_tile(cell, capability)
    n, d, itemsize = cell.n, cell.d, cell.itemsize
    slots, step = multiprocessors * tile.blocks, STEP_BYTES // itemsize
    if choose_formulation("auto", n, d) == "gram":
        if fused := schedule.fused_blocks(n, d, itemsize, multiprocessors):
            return fused * fused_split_tiles_bytes(n)
        tiles = 2 * schedule.gram_tiles_count(TILE_ROWS, tile.columns, n)
        splits, _ = schedule.choose_splits(tiles, d, step, slots, tile.bytes, cell.embeddings_bytes)
        return splits * tiles * tile.bytes
    tiles = -(-d // (TILE_ROWS * tile.pair)) * tile.pair * -(-d // tile.columns)
    splits, _ = schedule.choose_splits(tiles, n, step, slots, tile.bytes, cell.embeddings_bytes // 2)
    return splits * tiles * tile.bytes if splits > 1 else 0
