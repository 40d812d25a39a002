"""How long each kernel should take on an H200, counted: python -m benchmarks.expected, or --write, or --check

A hypothesis to measure against (benchmarks.profile_gpu prints it beside the time), and where nothing has been
measured the only word on what to try first. A kernel takes its start and what follows from its longest chain of
dependent instructions, plus the longest of

    memory   bytes of kernel_work.py through HBM
    L2       bytes through L2: operands as often as tiles fetch them, partial tiles, panels
    matrix   the busiest multiprocessor's steps of its tiles
    issue    the busiest scheduler's instructions, as the compiled code has them

Bytes and FLOPs are held to what the emulated GPU counts (tests/cuda_emulated/test_traffic.py); instructions were
counted along the way that a full tile takes through the machine code (nvcc 13.0, Triton 3.9, sm_90).
"""

import argparse
import re
import sys
from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from benchmarks.gpu.kernel_work import TILE_ROWS, cuda_partial_bytes, cuda_tile, expected_work
from benchmarks.shared.cell import Cell
from benchmarks.shared.memory import ROOT
from bt_kernels.build_report import host_module
from bt_kernels.formulation import choose_formulation

# Of the chip; sustained rates are those that others have measured on H100 and H200. L2's is the least certain: a
# large product of 128 x 256 tiles whose pairs share columns needs 6.2 TB/s at the matrix rate.
MULTIPROCESSORS, SCHEDULERS, CYCLES = 132, 4, 1750  # cycles in a microsecond
MEMORY, L2 = 4.3e6, 6.5e6  # bytes in a microsecond
MATRIX = 3420  # FLOPs in a cycle of a multiprocessor, of 16-bit operands: 790 TFLOP/s
SHARED_BYTES, MAX_CLUSTER = 227 << 10, 16
START, GAP = 1.0, 1.0  # microseconds: of a kernel, between two
STEP = 64  # features or samples of a tile's step, in 16 bits
FILL = 4  # steps until a tile's pipeline is full and empty again, where no other block works meanwhile
WARPS = 8  # of a block

DOCUMENT = ROOT / "docs/design.md"
BLOCK = re.compile(r"(<!-- expected times: begin -->\n)(.*?)(<!-- expected times: end -->)", re.DOTALL)
CELLS = [(256, 8192), (1024, 8192), (2048, 8192), (8192, 8192)]


class Expected(NamedTuple):
    """Microseconds of all launches of a kernel, and of which resource."""

    start: float
    parts: dict[str, float]

    @property
    def bound(self) -> str:
        return max(self.parts, key=lambda name: self.parts[name])

    @property
    def us(self) -> float:
        return self.start + max(self.parts.values())


def memory(cell: Cell, kernel: str, share: float = 1) -> float:
    return share * expected_work(cell, 0)[kernel].bytes / MEMORY


def issue(warps: float, instructions: float) -> float:
    """Of so many warps on the whole GPU, each with so many instructions."""
    return warps * instructions / (MULTIPROCESSORS * SCHEDULERS * CYCLES)


def matrix(blocks: int, steps: float, columns: int, epilogue: float = 0) -> float:
    """The busiest multiprocessor's: steps of 128 x columns tiles, and cycles behind each tile."""
    step, rounds = TILE_ROWS * columns * STEP * 2 / MATRIX, ceil(blocks / MULTIPROCESSORS)
    fills = rounds if columns == 256 else 1  # two blocks of the narrow tile share a multiprocessor
    return (rounds * (steps * step + epilogue) + fills * FILL * step) / CYCLES


def cuda_gram(cell: Cell) -> dict[str, Expected]:
    schedule, tile = host_module().cuda, cuda_tile(cell, (9, 0))
    n, d, itemsize = cell.n, cell.d, cell.itemsize
    partial = cuda_partial_bytes(cell, MULTIPROCESSORS, (9, 0))
    tiles = 2 * schedule.gram_tiles_count(TILE_ROWS, tile.columns, n)
    slots = MULTIPROCESSORS * tile.blocks
    splits, share = schedule.choose_splits(tiles, d, STEP, slots, tile.bytes, cell.embeddings_bytes)
    # A tile's rows, and its columns once for a pair of wide ones: 256 rows of y.
    operands = tiles * 2 * TILE_ROWS * d * itemsize
    k = 2 * n * n * itemsize
    found = {
        "standardize": cuda_standardize(cell),
        "gram_tiles": Expected(
            START + 0.3,
            {
                "memory": memory(cell, "gram_tiles"),
                "L2": (operands + partial) / L2,
                "matrix": matrix(tiles * splits, share / STEP, tile.columns),
            },
        ),
        "gram_combine": Expected(START + 1.5, {"L2": (partial + 2 * k) / L2}),
    }
    if n <= 2048:
        columns = 128 if n <= 1024 else 256
        blocks = 2 * ceil(d / TILE_ROWS) * ceil(n / columns)
        instructions = 1140 * columns / 128  # behind the product
        fetched = 2 * ceil(d / TILE_ROWS) * (TILE_ROWS * n + n * n) * itemsize
        parts = {
            "memory": memory(cell, "gram_gradient"),
            "L2": (fetched + 1.5 * cell.embeddings_bytes) / L2,
            "matrix": matrix(blocks, n / STEP, columns),
            "issue": issue(WARPS * blocks, instructions),
        }
        return found | {"gram_gradient": Expected(START + 1.0, parts)}
    product = 2 * 4 * n * d
    blocks = 2 * ceil(d / TILE_ROWS) * ceil(n / 256)
    panels = ceil(product / schedule.PANEL_BYTES)
    return found | {
        "gram_product": Expected(
            panels * START,
            {
                "L2": (blocks * 2 * TILE_ROWS * n * itemsize + product) / L2,
                "matrix": matrix(blocks, n / STEP, 256, 1000),
            },
        ),
        "gram_apply": Expected(panels * START, {"memory": memory(cell, "gram_apply"), "L2": product / L2}),
    }


def cuda_standardize(cell: Cell) -> Expected:
    plan = host_module().cuda.standardize_plan
    cluster, share, _ = plan(cell.n, cell.d, cell.itemsize, MULTIPROCESSORS, SHARED_BYTES, MAX_CLUSTER)
    blocks = ceil(cell.d * cell.itemsize / 128) * cluster
    instructions = 820 + 10.7 * share  # a warp's, with an eighth of the block's rows
    return Expected(START, {"memory": memory(cell, "standardize"), "issue": issue(WARPS * blocks, instructions)})


def cuda_correlation(cell: Cell) -> dict[str, Expected]:
    n, d = cell.n, cell.d
    of_c = ceil(d / TILE_ROWS) * ceil(d / 256)
    of_dz = ceil(d / TILE_ROWS) * ceil(n / 256)
    # Instructions behind a tile's product: of C off its diagonal, of dz.
    of_tile, of_gradient = 1320 * WARPS / SCHEDULERS, 2280 * WARPS / SCHEDULERS
    return {
        "standardize": cuda_standardize(cell),
        "correlation_tiles": Expected(
            START + 1.5,
            {
                "memory": memory(cell, "correlation_tiles"),
                "L2": of_c * 2 * TILE_ROWS * n * cell.itemsize / L2,
                "matrix": matrix(of_c, n / STEP, 256, of_tile),
            },
        ),
        "correlation_gradient": Expected(
            2 * START,
            {
                "memory": memory(cell, "correlation_gradient"),
                "L2": 2 * of_dz * 2 * TILE_ROWS * d * cell.itemsize / L2,
                "matrix": 2 * matrix(of_dz, d / STEP, 256, of_gradient),
            },
        ),
    }


def triton_gram(cell: Cell) -> dict[str, Expected]:
    n, d, itemsize = cell.n, cell.d, cell.itemsize
    k = 2 * n * n * itemsize
    side, of_k = (ceil(n / 64), 64) if n <= 256 else (ceil(n / 128), 128)
    tiles = side * (side + 1)  # of both triangles
    operands = tiles * 2 * of_k * d * itemsize
    partial = min(cell.embeddings_bytes, 4 * tiles * of_k * of_k * ceil(2 * MULTIPROCESSORS / tiles))
    found = {
        "standardize": triton_standardize(cell),
        "gram_tiles": Expected(
            START + 0.5,
            {
                "memory": memory(cell, "gram_tiles"),
                "L2": (operands + partial) / L2,
                # Of 128 x 128 tiles shared memory is the limit: 640 cycles a step, not 512.
                "matrix": tiles * of_k * of_k * d * 2 / (MULTIPROCESSORS * MATRIX * CYCLES) * 1.25,
            },
        ),
        "gram_combine": Expected(START + 2.5, {"L2": (partial + 2 * k) / L2}),
        "finish": Expected(START, {"latency": 2.4}),
    }
    if n <= 512:
        features = 128 if n <= 256 else 64
        blocks = 2 * ceil(d / features)
        parts = {
            "memory": memory(cell, "gram_gradient"),
            "L2": blocks * (n * n + 3 * n * features) * itemsize / L2,
            "matrix": 4 * n * n * d / (MULTIPROCESSORS * MATRIX * CYCLES),
            "issue": issue(WARPS * blocks, 3100),
        }
        return found | {"gram_gradient": Expected(START + 3.0, parts)}
    product, panels = 2 * 4 * n * d, ceil(2 * 4 * n * d / (24 << 20))
    blocks = 2 * ceil(d / 256) * ceil(n / TILE_ROWS)
    return found | {
        "gram_product": Expected(
            panels * START,
            {
                "L2": (blocks * (TILE_ROWS + 256) * n * itemsize + product) / L2,
                "matrix": matrix(blocks, n / STEP, 256, 4000),
            },
        ),
        "gram_apply": Expected(
            panels * START, {"memory": memory(cell, "gram_apply"), "issue": issue(2 * n * d / 32, 20)}
        ),
    }


def triton_standardize(cell: Cell) -> Expected:
    n, d = cell.n, cell.d
    if n <= 512:
        warps = WARPS * ceil(d / 16)
        return Expected(START + 1.0, {"memory": memory(cell, "standardize"), "issue": issue(warps, 2150)})
    instructions = 1068 * ceil(n / 64) + 2100
    # z is read three times; up to here L2 serves the second and third.
    reads = 3 if cell.embeddings_bytes > 40 << 20 else 1
    moved = (reads + 1) * cell.embeddings_bytes / MEMORY
    return Expected(START, {"memory": moved, "issue": issue(4 * ceil(d / 32), instructions)})


def triton_correlation(cell: Cell) -> dict[str, Expected]:
    n, d = cell.n, cell.d
    of_c = ceil(d / TILE_ROWS) * ceil(d / 256)
    of_dz = ceil(n / TILE_ROWS) * ceil(d / 256)
    fetched = (TILE_ROWS + 256) * cell.itemsize
    return {
        "standardize": triton_standardize(cell),
        "correlation_tiles": Expected(
            START,
            {
                "memory": memory(cell, "correlation_tiles"),
                "L2": of_c * fetched * n / L2,
                "matrix": matrix(of_c, n / STEP, 256, 6000),
            },
        ),
        "finish": Expected(START, {"latency": 2.4}),
        "correlation_gradient": Expected(
            2 * START,
            {
                "memory": memory(cell, "correlation_gradient"),
                "L2": 2 * of_dz * fetched * d / L2,
                "matrix": 2 * matrix(of_dz, d / STEP, 256, 6000),
            },
        ),
    }


MODELS: dict[str, dict[str, Callable[[Cell], dict[str, Expected]]]] = {
    "cuda": {"gram": cuda_gram, "correlation": cuda_correlation},
    "triton": {"gram": triton_gram, "correlation": triton_correlation},
}


def expected(cell: Cell, backend: str) -> dict[str, Expected]:
    """Of every kernel of a forward + backward of 16-bit embeddings on an H200, beyond N = 128."""
    return MODELS[backend][choose_formulation("auto", cell.n, cell.d)](cell)


def table() -> str:
    cells = [Cell(n, d, "bfloat16") for n, d in CELLS]
    lines = [
        f"| | {' | '.join(f'N = {cell.n}, D = {cell.d}' for cell in cells)} |",
        "|---" * (len(cells) + 1) + "|",
    ]
    for backend in MODELS:
        found = [expected(cell, backend) for cell in cells]
        for name in dict.fromkeys(name for of_cell in found for name in of_cell):
            texts = [f"{x[name].us:.1f} {x[name].bound}" if name in x else "" for x in found]
            lines.append(f"| {backend} `{name}` | {' | '.join(texts)} |")
        sums = [sum(x.us for x in of_cell.values()) + GAP * (len(of_cell) - 1) for of_cell in found]
        lines.append(f"| {backend}, together with gaps | {' | '.join(f'**{x:.0f}**' for x in sums)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expected", description=__doc__.split("\n")[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help=f"into {DOCUMENT.relative_to(ROOT)}")
    group.add_argument("--check", action="store_true", help="exit with 1 if it has others")
    options = parser.parse_args(arguments)
    text = DOCUMENT.read_text()
    new = BLOCK.sub(lambda match: match[1] + table() + match[3], text)
    if options.check:
        return int(new != text)
    if options.write:
        DOCUMENT.write_text(new)
    else:
        print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
