"""Which tiles, warps and pipeline stages each kernel runs with: fixed by shape, operand type and device.

Nothing is tuned at run time, so the same input gives the same bits in every process on the same kind of device.

Where the numbers come from: the compiled code (no spills in loops, 16-byte accesses, matrix instructions of the
architecture; tests/triton_compiled reads them for every row) and a count of bytes, FLOPs and instructions. They
have not been measured on a GPU yet.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

# Row stride of y and K in elements: a multiple of every k below, so that no loop over features has a ragged end.
ROW_MULTIPLE = 64
GROUP = 8  # rows of tiles that are walked together
COMBINE_ROWS = 8  # rows of a split tile of K per program of gram_combine, 8 numbers a thread
FUSED_MAX_N = 512  # up to here one program of gram_backward holds all rows of its features
PANEL_BYTES = 24 << 20  # of gram_product's T, to stay in a 40 MB L2 beside y and K
PANEL_BYTES_AT_LEAST = 8 << 20  # whatever the embeddings' size
FORCED_PANEL = 512  # rows of C at a time when correlation is forced with N < D

# Cost of a split product beyond its steps of k, in steps: filling and draining the pipeline, and writing and
# reading one split tile.
SPLIT_FIXED, SPLIT_COMBINE = 6, 6
BARRIER_BYTES = 16


class Gpu(NamedTuple):
    """What the choices depend on."""

    multiprocessors: int
    shared_bytes: int  # largest shared memory of a block


@dataclass(frozen=True)
class Tile:
    """A matrix product's tile: m x n results from k at a time."""

    m: int
    n: int
    k: int
    warps: int
    stages: int

    def shared_bytes(self, itemsize: int) -> int:
        """Operands in flight and barriers; the compiler needs a stage less on some architectures, never more."""
        return self.stages * (self.m + self.n) * self.k * itemsize + BARRIER_BYTES


@dataclass(frozen=True)
class Block:
    """Rows (samples) and columns (features) of a kernel without a matrix product."""

    n: int
    d: int
    warps: int


Table = dict[str, dict[int | None, tuple[Tile, ...]]]  # kind -> largest N of a class, None for all others -> tiles

# Operand types: 16 bits (bfloat16, float16), tf32 and ieee float32. The first row of a list that fits the device's
# shared memory is taken; the last ones are for 64 KB (AMD) and 99 KB (sm_86, sm_89, sm_120).
#
# k is at least 16: Triton 3.6 refuses less. 128 x 128 tiles of gram_tiles have 4 warps: with 8, Triton 3.6 makes
# each wgmma wait for the one before (ptxas C7515), as it does in correlation_tiles, which has 128 x 256. 16 warps
# only where there is no tensor core: with them Triton leaves tcgen05 for mma.sync on sm_100.
GRAM_TILES: Table = {
    "16-bit": {
        256: (Tile(64, 64, 64, 4, 4), Tile(64, 64, 64, 4, 3)),
        None: (Tile(128, 128, 64, 4, 3), Tile(128, 128, 32, 4, 3)),
    },
    "tf32": {
        512: (Tile(64, 64, 32, 4, 4),),
        None: (Tile(128, 128, 32, 4, 3), Tile(128, 128, 32, 4, 2)),
    },
    "ieee": {512: (Tile(64, 64, 32, 8, 3),), None: (Tile(128, 128, 16, 8, 3),)},
}
GRAM_BACKWARD: Table = {  # m: at least N, all rows
    "16-bit": {
        64: (Tile(64, 64, 64, 4, 3),),
        128: (Tile(128, 64, 64, 8, 3), Tile(128, 64, 32, 8, 3)),
        256: (
            Tile(256, 128, 64, 8, 4),
            Tile(256, 64, 64, 8, 3),
            Tile(256, 64, 64, 8, 2),
            Tile(256, 64, 32, 8, 2),
        ),
        512: (
            Tile(512, 64, 64, 8, 3),
            Tile(512, 32, 64, 8, 3),
            Tile(512, 32, 64, 8, 2),
            Tile(512, 32, 32, 8, 2),
            Tile(512, 32, 16, 8, 2),
        ),
    },
    "tf32": {
        64: (Tile(64, 64, 32, 4, 3),),
        128: (Tile(128, 64, 32, 8, 3), Tile(128, 64, 32, 8, 2)),
        256: (
            Tile(256, 64, 32, 8, 3),
            Tile(256, 32, 32, 8, 3),
            Tile(256, 32, 32, 8, 2),
            Tile(256, 32, 16, 8, 2),
        ),
        512: (Tile(512, 32, 32, 8, 3), Tile(512, 32, 16, 8, 2)),
    },
    "ieee": {
        64: (Tile(64, 64, 16, 4, 3),),
        128: (Tile(128, 32, 16, 4, 3),),
        256: (Tile(256, 32, 16, 8, 3),),
        512: (Tile(512, 16, 16, 16, 2), Tile(512, 16, 16, 8, 1)),
    },
}
GRAM_PRODUCT: Table = {
    "16-bit": {
        None: (
            Tile(128, 256, 64, 8, 4),
            Tile(128, 256, 32, 8, 4),
            Tile(128, 128, 64, 8, 3),
            Tile(128, 128, 32, 8, 3),
        ),
    },
    "tf32": {None: (Tile(128, 128, 32, 8, 3), Tile(128, 128, 32, 8, 2))},
    "ieee": {None: (Tile(128, 64, 16, 4, 2),)},
}
CORRELATION_TILES: Table = {
    **GRAM_PRODUCT,
    "16-bit": {None: (Tile(128, 256, 64, 8, 4), Tile(128, 256, 32, 8, 4), Tile(128, 128, 32, 8, 3))},
}
CORRELATION_BACKWARD: Table = {
    "16-bit": {None: (Tile(128, 256, 64, 8, 4), Tile(128, 128, 64, 8, 3), Tile(128, 128, 32, 8, 3))},
    "tf32": {None: (Tile(128, 64, 32, 8, 3), Tile(128, 64, 32, 8, 2))},
    "ieee": {None: (Tile(128, 64, 16, 4, 2),)},
}
GRAM_APPLY = Block(32, 128, 4)


def combine_warps(tile: Tile) -> int:
    """Of correlation_combine: 32 numbers per thread."""
    return max(4, tile.m * tile.n // 1024)


def epilogue_part(tile: Tile) -> int:
    """Features of gram_backward's tile that its epilogue takes at a time: at most 32 numbers per thread."""
    return 32 if tile.m <= 256 else 16


def fitting(table: Table, kind: str, n: int, itemsize: int, gpu: Gpu) -> list[Tile]:
    """Tiles for N samples that fit the GPU's shared memory; the last one if there are none."""
    rows = next(tiles for limit, tiles in table[kind].items() if limit is None or n <= limit)
    return [tile for tile in rows if tile.shared_bytes(itemsize) <= gpu.shared_bytes] or [rows[-1]]


def pick(table: Table, kind: str, n: int, itemsize: int, gpu: Gpu) -> Tile:
    """The first tile for N samples that fits the GPU's shared memory."""
    return fitting(table, kind, n, itemsize, gpu)[0]


def pick_by_rounds(
    table: Table, kind: str, n: int, itemsize: int, gpu: Gpu, rounds: Callable[[Tile], int]
) -> Tile:
    """Of the fitting tiles, the first of each size, the one whose rounds fetch least, one after the other.

    The largest multiplies most for what it fetches, but there may be too few of them to fill the GPU.
    """
    first_of_size = {(tile.m, tile.n): tile for tile in reversed(fitting(table, kind, n, itemsize, gpu))}
    return min(reversed(first_of_size.values()), key=lambda tile: rounds(tile) * (tile.m + tile.n))


def standardize_block(n: int) -> Block:
    """16 numbers of each view per thread: more would spill. Up to N = 512 all rows at once; beyond, the block that
    keeps most warps on a multiprocessor."""
    if n > 512:
        return Block(64, 32, 4)
    rows = max(16, 1 << (n - 1).bit_length())
    d = 64 if rows <= 64 else 32 if rows == 128 else 16
    return Block(rows, d, max(1, rows * d // 512))


@functools.lru_cache(maxsize=1024)
def split_factor(tiles: int, steps: int, slots: int, bytes_per_split: int, budget: int) -> int:
    """Into how many shares the k loop of a product with few tiles is split.

    The cheapest by steps of k in the longest-running slot, with split tiles of no more than budget bytes in all.
    """

    def cost(splits: int) -> float:
        rounds = -(-tiles * splits // slots)
        return rounds * (-(-steps // splits) + SPLIT_FIXED) + SPLIT_COMBINE * tiles * splits / slots

    affordable = max(1, min(steps, budget // bytes_per_split, 256))
    return min(range(1, affordable + 1), key=cost)


def panel_budget(n: int, d: int, itemsize: int) -> int:
    """Bytes of gram_product's T: with y, K and dz three times the embeddings at most, where that is not tiny."""
    left = 2 * n * (d - n) * itemsize
    return min(PANEL_BYTES, max(PANEL_BYTES_AT_LEAST, left))


def panel_rounds(n: int, d: int, views: int, tile: Tile, slots: int, width: int) -> int:
    """Of gram_product's tiles, one to a slot, in all panels."""
    return -(-d // width) * -(-views * -(-n // tile.m) * (width // tile.n) // slots)


@functools.lru_cache(maxsize=1024)
def panel_width(n: int, d: int, views: int, tile: Tile, slots: int, budget: int) -> int:
    """Features of a gram_product panel: as many as fit the budget, less where that fills the last round better."""
    widest = max(1, budget // (4 * views * n * tile.n))
    widest = min(widest, -(-d // tile.n))
    # Fewest rounds of all slots, then fewest panels.
    widths = (k * tile.n for k in range((widest + 1) // 2, widest + 1))
    return min(widths, key=lambda width: (panel_rounds(n, d, views, tile, slots, width), -width))
