"""What the commands about single kernels know of them: names, bytes and FLOPs, tiles, rows to try."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import profile_gpu
from benchmarks.gpu import kernel_work
from benchmarks.gpu.kernel_work import NARROW, PORTABLE, WIDE, cuda_split_tiles_bytes, cuda_tile, expected_work
from benchmarks.shared.cell import Cell
from bt_kernels.build_report import host_module
from tests.support.benchmarks.gpu_fakes import CEILINGS

ROOT = Path(__file__).parents[2]
HOPPER, AMPERE = (9, 0), (8, 0)
needs_host = pytest.mark.skipif(not hasattr(host_module(), "cuda"), reason="the C++ side is not built")


def test_the_profile_compares_each_kernel_with_its_own_floor():
    cell = Cell(1024, 8192, "bfloat16", "cuda")
    work = expected_work(cell, split_tiles_bytes=1000)
    assert work["gram_tiles"].flops + work["gram_product"].flops == 6 * 1024**2 * 8192
    assert (work["gram_tiles"].bytes, work["gram_tiles"].l2_bytes) == (cell.embeddings_bytes, 1000)
    recorded = {"gram_tiles_kernel": [40.0, 60.0], "fill": [1.0, 1.0]}
    first, second = profile_gpu.report(recorded, work, CEILINGS, calls=2)
    assert first["us"] == 50 and first["fraction"] == pytest.approx(1e6 * 2 * 1024**2 * 8192 / 800e12 / 50)
    assert second == {"kernel": "fill", "launches": 1, "us": 1}
    assert len(profile_gpu.line(second)) < len(profile_gpu.line(first)) == len(profile_gpu.HEAD)
    tall = expected_work(Cell(8192, 4096, "bfloat16", "cuda"), 0)
    assert sum(item.flops for item in tall.values()) == 6 * 8192 * 4096**2


@pytest.mark.parametrize(
    "found, name",
    [
        ("gram_tiles_kernel", "gram_tiles"),
        ("void bt::cuda::gram_tiles_kernel<bt::cuda::HopperProduct<__nv_bfloat16, 256> >(int)", "gram_tiles"),
        ("_ZN2bt4cuda17gram_tiles_kernelINS0_13HopperProductI13__nv_bfloat16EEEEvv", "gram_tiles"),
        ("void bt::cuda::standardize_kernel<__half, true>(bt::cuda::StandardizeArguments<__half>)", "standardize"),
        ("void bt::cuda::standardize_gram_kernel<bt::cuda::PortableProduct<float> >()", "standardize_gram"),
        ("void at::native::vectorized_elementwise_kernel<4>(int)",) * 2,
        ("void other::my_gram_tiles_kernel()",) * 2,
    ],
)
def test_kernels_are_known_by_name_whoever_wrote_them(found, name):
    assert profile_gpu.kernel_name(found, expected_work(Cell(256, 8192, "bfloat16", "cuda"), 0)) == name


def test_instances_of_one_kernel_are_one_kernel():
    """correlation_backward runs as another instance for each view; the work is that of both."""
    cell = Cell(8192, 4096, "bfloat16", "cuda")
    recorded = {f"void bt::cuda::correlation_backward_kernel<{major}>()": [200.0] for major in "01"}
    [entry] = profile_gpu.report(recorded, expected_work(cell, 0), CEILINGS, calls=1)
    assert (entry["kernel"], entry["launches"], entry["us"]) == ("correlation_backward", 2, 400)
    assert entry["flops"] == 4 * 8192 * 4096**2


def test_every_kernel_of_the_cuda_backend_is_known():
    sources = (ROOT / "csrc" / "cuda").rglob("*.cuh")
    kernels = {name for path in sources for name in re.findall(r"(\w+)_kernel\(const __grid_c", path.read_text())}
    known = [expected_work(Cell(n, 512, "bfloat16", "cuda"), 0) for n in (256, 1024)]
    over_ranks = {"correlation_diagonal"}  # no step of one process, which is what is profiled, has it
    assert kernels - over_ranks == set(known[0]) | set(known[1]) and over_ranks < kernels


def test_tiles_are_those_of_the_sources():
    def numbers(pattern: str, path: str) -> list[int]:
        return [int(number) for number in re.search(pattern, (ROOT / "csrc/cuda" / path).read_text()).groups()]

    tile = r" = HopperProduct<T, A, B, (\d+), \d+, (\d+)>"
    assert numbers("NarrowTile" + tile, "launches/sm90/family.cuh") == [NARROW.columns, NARROW.blocks]
    assert numbers("WideTile" + tile, "launches/sm90/family.cuh") == [WIDE.columns, WIDE.blocks]
    rows = r"kRows = (\d+), kColumns = (\d+)"
    assert numbers(rows, "product/portable_product.cuh") == [kernel_work.TILE_ROWS, PORTABLE.columns]
    assert numbers(r"kRows = (\d+), kColumns = COL", "product/hopper_product.cuh") == [kernel_work.TILE_ROWS]
    assert numbers(r"kBlocksPerMultiprocessor = (\d+);", "product/portable_product.cuh") == [PORTABLE.blocks]
    assert numbers(r"kWideFrom = (\d+);", "launches/family_launches.cuh") == [kernel_work.WIDE_FROM]


@pytest.mark.parametrize(
    "cell, capability, tile",
    [
        (Cell(256, 8192, "bfloat16"), HOPPER, NARROW),
        (Cell(1024, 8192, "float16"), HOPPER, WIDE),
        (Cell(1024, 8192, "float32", precision="tf32"), HOPPER, WIDE),
        (Cell(1024, 8192, "float32"), HOPPER, PORTABLE),
        (Cell(1024, 8192, "bfloat16"), AMPERE, PORTABLE),
        (Cell(8192, 256, "bfloat16"), HOPPER, WIDE),
        (Cell(8192, 256, "float32", precision="tf32"), HOPPER, PORTABLE),
    ],
)
def test_the_tile_of_the_cuda_backend(cell, capability, tile):
    assert cuda_tile(cell, capability) == tile


@needs_host
def test_split_tiles_of_the_cuda_backend():
    def split_tiles(*cell) -> int:
        return cuda_split_tiles_bytes(Cell(*cell), 132, HOPPER)

    tile = 4 * 128 * 128
    assert split_tiles(64, 8192, "bfloat16") % (2 * tile) == 0 and split_tiles(64, 8192, "bfloat16") <= 8 << 20
    gram = split_tiles(256, 8192, "bfloat16")
    assert gram % (2 * 3 * tile) == 0 and gram <= Cell(256, 8192, "bfloat16").embeddings_bytes
    assert split_tiles(1024, 8192, "bfloat16") % (2 * 20 * 2 * tile) == 0
    assert split_tiles(8192, 4096, "bfloat16") == 0 < split_tiles(8192, 256, "bfloat16")
    split = expected_work(Cell(8192, 256, "bfloat16"), 1000)
    assert split["correlation_combine"].bytes == 256 * 256 * 2
    assert split["correlation_tiles"].bytes == Cell(8192, 256, "bfloat16").embeddings_bytes


@pytest.mark.long
def test_the_tuner_tries_rows_and_says_why_one_was_refused():
    """In a process of its own: Triton's interpreter has to be chosen before the kernels are imported."""
    pytest.importorskip("triton")
    code = """
from benchmarks.shared import device
from benchmarks import tune_triton
from bt_kernels.backends.triton.heuristics import Tile
rows = [Tile(32, 32, 16, 4, 2), Tile(48, 48, 16, 4, 2)]  # the second is no power of two
tune_triton.candidate_rows = lambda *_: rows
tune_triton.ROUNDS = device.CpuDevice.max_rounds = 1
def fake_time(self, call):
    call()
    return 1e-3
device.CpuDevice.time = fake_time
tune_triton.main("--kernel gram_tiles --n 20 --d 24 --dtype float32 --device cpu".split())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1000.0  Tile(m=32, n=32, k=16, warps=4, stages=2)" in done.stdout
    assert "<- the table's" in done.stdout
    assert "Tile(m=48, n=48, k=16, warps=4, stages=2): " in done.stdout
