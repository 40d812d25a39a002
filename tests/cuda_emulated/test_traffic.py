"""What the kernels read and write: full sectors, no bank conflicts, and as much as the benchmarks count."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.gpu import kernel_work
from benchmarks.shared.cell import Cell as BenchmarkCell
from tests.cuda_emulated.build import build, compiler
from tests.cuda_emulated.traffic import GPUS, Access, Cell, KernelTraffic, count

pytestmark = pytest.mark.long  # a library of its own

CELLS = [
    Cell("gram", "bfloat16", 64, 512),  # standardize_gram
    Cell("gram", "bfloat16", 256, 1024),
    Cell("gram", "bfloat16", 768, 1024),  # wide tiles
    Cell("gram", "tf32", 256, 512),
    Cell("gram", "float32", 256, 512),
    Cell("gram", "bfloat16", 256, 512, "A100"),  # gram_product, gram_apply
    Cell("correlation", "bfloat16", 768, 512),
    Cell("correlation", "tf32", 512, 256),
    Cell("correlation", "bfloat16", 384, 256, "A100"),
]


class Known(NamedTuple):
    """More sectors or cycles than the bytes need, and why that stays."""

    line: str  # part of a source line
    factor: int  # at most as many times
    why: str


KNOWN = [
    Known("* ldk + column) =", 2, "a piece of K is 8 numbers wide, 16 bytes of a sector"),
    Known("k[view][row * ldk + column]", 5, "pieces on K's diagonal, number by number, and float32"),
    Known("k[view][column * ldk + row]", 4, "their mirror image"),
    Known("parts[i] = split_tile<Product>", 2, "lanes below K's diagonal read nothing"),
    Known("a[k][i] = ", 2, "tf32 through registers: wgmma fixes which k a lane has"),
    Known("sums[(2 + lane) * stride]", 2, "two numbers of a column block"),
    Known("shared.factor(slot,", 2, "once per block, so that reading is free of conflicts"),
]


@pytest.fixture(scope="module")
def traffic(pytestconfig) -> dict[Cell, list[KernelTraffic]]:
    if "Free Software Foundation" not in printed(*compiler(), "--version"):
        pytest.skip("only GCC's code keeps the accesses as the source has them")
    if missing := [tool for tool in ("nm", "addr2line") if shutil.which(tool) is None]:
        pytest.skip(f"binutils are not here: {', '.join(missing)}")
    folder = pytestconfig.cache.mkdir("cuda_emulated")
    return count(build(folder, "bt_kernels_counting", counts=True), CELLS)


def printed(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=CELLS, ids=str)
def cell(request) -> Cell:
    return request.param


def source_lines(access: Access) -> str:
    """Of csrc/cuda: that of the access and those of the calls that it is inlined in."""
    found = []
    for place in access.where.split(" < "):
        name, number = place.rsplit(":", 1)
        for path in (Path(__file__).parents[2] / "csrc" / "cuda").rglob(name):
            # A statement may begin above the line that the compiler names.
            found += path.read_text().splitlines()[int(number) - 2 : int(number)]
    return "\n".join(found)


def wasteful(kernels: list[KernelTraffic], space: str) -> Iterator[str]:
    for kernel in kernels:
        for access in kernel.accesses:
            if access.space != space or access.units == access.least:
                continue
            allowed = max((x.factor for x in KNOWN if x.line in source_lines(access)), default=1)
            if access.units > allowed * access.least:
                yield f"{kernel.kernel}: {access}"


def test_shared_memory_is_read_and_written_without_bank_conflicts(traffic, cell):
    assert list(wasteful(traffic[cell], "shared")) == []


def test_global_memory_is_read_and_written_in_full_sectors(traffic, cell):
    assert list(wasteful(traffic[cell], "global")) == []


def test_what_is_known_to_waste_still_does(traffic):
    """Or its line in KNOWN would hide what comes next."""
    found = {access for kernels in traffic.values() for kernel in kernels for access in kernel.accesses}
    lines = [source_lines(access) for access in found if access.units > access.least]
    assert [known.line for known in KNOWN if not any(known.line in line for line in lines)] == []


SMALL = 1.03  # statistics, sums and padding
EXACT = ("gram_backward", "gram_product", "correlation_tiles", "correlation_backward")


def test_bytes_and_flops_are_those_that_benchmarks_count_on(traffic, cell):
    """Where tiles are full: what benchmarks/gpu/kernel_work.py says of every kernel."""
    measured = BenchmarkCell(cell.n, cell.d, cell.dtype.replace("tf32", "float32"))
    if cell.dtype == "tf32":
        measured = replace(measured, precision="tf32")
    capability, multiprocessors, *_ = GPUS[cell.gpu]
    split_tiles = kernel_work.cuda_split_tiles_bytes(
        measured, multiprocessors, (capability // 10, capability % 10)
    )
    work = kernel_work.expected_work(measured, split_tiles)
    for name in {kernel.kernel for kernel in traffic[cell]}:
        kernels = [kernel for kernel in traffic[cell] if kernel.kernel == name]
        moved, expected = sum(k.read + k.written for k in kernels), work[name]
        # Of split tiles gram_combine reads those parts alone that are on or above K's diagonal.
        least = expected.bytes + (expected.l2_bytes if name != "gram_combine" else expected.l2_bytes // 2)
        assert least <= moved <= SMALL * (expected.bytes + expected.l2_bytes), name
        if cell.dtype != "float32":  # whose products are no matrix instructions
            flops = sum(k.flops for k in kernels)
            full = cell.n % 128 == 0
            assert flops == expected.flops if name in EXACT and full else flops >= expected.flops, name
