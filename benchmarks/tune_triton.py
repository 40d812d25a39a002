"""Times rows for the tables of bt_kernels/backends/triton/heuristics.py, one kernel at one shape:
python -m benchmarks.tune_triton --kernel gram_tiles --n 1024 --d 8192 --dtype bfloat16

Each row takes the place of the one that the table gives; forward + backward are replayed from a CUDA graph, so
that a difference is the kernel's. A row counts only if loss and gradients agree with the table's own choice. The
best are then timed again, in turn with the table's choice: what differs less than two timings of the same row is
noise.
"""

import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch

from benchmarks.gpu.kernel_command import parse_cell
from benchmarks.shared.candidates import GRAPH, OURS, build_step
from benchmarks.shared.cell import Cell, make_embeddings
from benchmarks.shared.command import Command
from benchmarks.shared.correctness import Truth, errors
from benchmarks.shared.device import Device
from benchmarks.shared.measure import Quantiles, quantiles, time_candidates
from benchmarks.shared.result_file import first_line
from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton import standardize as standardize_stage
from bt_kernels.backends.triton.heuristics import Block, Tile
from bt_kernels.backends.triton.launch import operands, properties

KERNELS = (
    "gram_tiles", "gram_backward", "gram_product", "correlation_tiles", "correlation_backward", "standardize",
)  # fmt: skip
Row = Tile | Block
ROUNDS, FINALISTS = 15, 4
MOST_PER_THREAD = 128  # float32 accumulators, of 255 registers


def candidate_rows(kernel: str, n: int, itemsize: int, shared_bytes: int) -> list[Row]:
    all_rows = max(16, 1 << (n - 1).bit_length())
    if kernel == "standardize":
        sizes = itertools.product((16, 32, 64, 128, 256, 512), (8, 16, 32, 64, 128), (1, 2, 4, 8))
        blocks = [Block(rows, d, warps) for rows, d, warps in sizes if rows <= all_rows]
        return [block for block in blocks if 4 <= block.n * block.d / 32 / block.warps <= 32]
    sides = (64, 128, 256)
    m, n_of_tile = ((all_rows,), (16, 32, *sides)) if kernel == "gram_backward" else (sides, sides)
    tiles = itertools.product(m, n_of_tile, (64 // itemsize, 128 // itemsize), (4, 8), (2, 3, 4, 5))
    return [
        tile
        for tile in itertools.starmap(Tile, tiles)
        if (kernel != "gram_tiles" or tile.m == tile.n)
        and tile.shared_bytes(itemsize) <= shared_bytes
        and 16 <= tile.m * tile.n / 32 / tile.warps <= MOST_PER_THREAD
    ]


class Tuner:
    def __init__(self, device: Device, cell: Cell, kernel: str) -> None:
        self.device, self.cell, self.kernel = device, cell, kernel
        kind, gpu = operands(cell.torch_dtype, cell.operands == "tf32"), properties(device.torch_device)
        self.kind = kind.kind
        if kernel == "standardize":
            self.choice = heuristics.standardize_block(cell.n)
        else:
            table = getattr(heuristics, kernel.upper())
            self.choice = heuristics.pick(table, kind.kind, cell.n, kind.itemsize, gpu)
        rows = candidate_rows(kernel, cell.n, kind.itemsize, gpu.shared_bytes)
        self.rows = sorted(set(rows) - {self.choice}, key=lambda row: (self.distance(row), str(row)))
        self.views = make_embeddings(cell)
        loss = self.step(self.choice)()
        self.expected = Truth(loss.item(), tuple(z.grad.double() for z in self.views), "the table's own choice")

    def distance(self, row: Row) -> int:
        """In how many fields it differs from the table's choice: near rows come before the time is up."""
        return sum(getattr(row, name) != getattr(self.choice, name) for name in row.__dataclass_fields__)

    def launched_with(self, row: Row) -> AbstractContextManager:
        if self.kernel == "standardize":
            return patch.object(standardize_stage, "standardize_block", lambda n: row)
        return patch.object(heuristics, self.kernel.upper(), {self.kind: {None: (row,)}})

    def step(self, row: Row) -> Callable[[], torch.Tensor]:
        """Forward and backward with this row. On a GPU the launches are the capture's, whatever there is."""
        with self.launched_with(row):
            step = build_step(GRAPH if self.cell.on_gpu else OURS, self.cell, *self.views)
        return step if self.cell.on_gpu else self.launched_with(row)(step)

    def seconds(self, row: Row) -> float:
        """Median of a few calls. Raises AssertionError where the row computes something else."""
        step = self.step(row)
        self.views.clear()
        loss = step()
        found = errors(loss, tuple(z.grad for z in self.views), self.expected, 1.0)
        if not found.within(self.cell.operands):
            raise AssertionError(f"wrong: {found}")
        return statistics.median(self.device.time(step) for _ in range(ROUNDS))

    def tune(self, limit: float) -> tuple[dict[Row, float], dict[Row, str]]:
        """Seconds of the rows that work, and why the others do not."""
        found, refused, started = {self.choice: self.seconds(self.choice)}, {}, time.monotonic()
        for row in self.rows:
            try:
                if time.monotonic() - started > limit:
                    raise TimeoutError("no time left")
                found[row] = self.seconds(row)
            except Exception as error:  # shared memory, the compiler, a wrong result: the next row
                refused[row] = first_line(error)
            self.device.release()
        return dict(sorted(found.items(), key=lambda item: item[1])), refused

    def final(self, found: dict[Row, float]) -> list[tuple[Row, Quantiles]]:
        """The best and the table's choice, timed in turn, best first."""
        steps = {row: self.step(row) for row in [*list(found)[:FINALISTS], self.choice]}
        samples = time_candidates(self.device, steps, found, self.views.clear)
        return sorted(((row, quantiles(samples[row])) for row in steps), key=lambda item: item[1].q50)


def main(arguments: list[str] | None = None) -> int:
    parser = Command(
        "tune_triton",
        "Times rows for the tables of bt_kernels/backends/triton/heuristics.py on a GPU, for one kernel at one "
        "shape, and prints them beside the table's own choice, the fastest first. Writes no file.",
        {"--kernel gram_tiles --n 1024 --d 8192 --dtype bfloat16": "rows for GRAM_TILES"},
        "0 measured; 2 bad arguments, or no GPU.",
    )
    parser.add_argument("--kernel", choices=KERNELS, required=True, help="whose rows are timed")
    parser.seconds(300, "time budget in seconds: no further row is tried behind it")
    options, cell, device = parse_cell(parser, sys.argv[1:] if arguments is None else arguments, ("triton",))
    kernel = options.kernel
    if kernel == ("gram_product" if cell.n <= heuristics.FUSED_MAX_N else "gram_backward"):
        parser.error(f"--kernel {kernel} does not run at N = {cell.n}: FUSED_MAX_N is {heuristics.FUSED_MAX_N}")
    if kernel != "standardize":
        cell = dataclasses.replace(cell, formulation=kernel.split("_")[0])
    with cell.products():
        tuner = Tuner(device, cell, kernel)
        found, refused = tuner.tune(options.seconds)
        final = tuner.final(found)
    print(f"{device.name}; {kernel}, N = {cell.n}, D = {cell.d}, {cell.operands}; us per forward + backward")
    print(*(f"  {row}: {reason}" for row, reason in refused.items()), sep="\n")
    print(*(f"{1e6 * seconds:>10.1f}  {row}" for row, seconds in found.items()), sep="\n")
    print("\nbest, timed again in turn: 20, 50, 80 %")
    for row, times in final:
        mark = "  <- the table's" if row == tuner.choice else ""
        print(f"{''.join(f'{1e6 * t:>10.1f}' for t in times)}  {row}{mark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
