"""How the C++ kernels cut their work (csrc/cpu/schedule.h): all of it once, nothing larger than promised."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_kernels.build_report import host_module, why_not_built

host = host_module()
pytestmark = [
    pytest.mark.runs_on("cpu"),
    pytest.mark.skipif(host is None, reason=f"bt_kernels._host: {why_not_built()}"),
]

# csrc/cpu/schedule.h
CACHE_BYTES, MIN_WIDTH, MAX_WIDTH = 512 * 1024, 128, 512

samples = st.integers(2, 2**17)
features = st.integers(1, 2**21)
threads = st.integers(1, 512)
itemsizes = st.sampled_from([4, 8])


@given(n=samples, d=features, threads=threads, itemsize=itemsizes)
def test_panel_width(n, d, threads, itemsize):
    width = host.panel_width(n, d, threads, itemsize)
    assert 1 <= width <= min(d, MAX_WIDTH)
    # Within the cache unless that would make panels too narrow for the matrix product.
    assert width <= MIN_WIDTH or width * n * itemsize <= CACHE_BYTES
    # Whole cache lines, but for embeddings narrower than that.
    assert width % 16 == 0 or width == d
    # No thread without work where there is a cache line of columns for each.
    if d >= 16 * threads and threads > 1:
        assert -(-d // width) > threads // 2


@given(n=samples)
def test_triangle_blocks_cover_the_upper_triangle(n):
    block = host.triangle_block(n)
    assert 1 <= block <= max(n, 64)
    blocks = range(0, n, block)
    computed = sum(min(block, n - i) * (n - i) for i in blocks)
    assert n * (n + 1) // 2 <= computed <= n * n
    # From three blocks on, half of the square and the blocks on the diagonal.
    if len(blocks) > 2:
        assert computed <= n * n * (1 + block / n) / 2 + block * block


@given(n=samples, d=features, threads=threads)
def test_partial_gram_matrices_fit_beside_the_embeddings(n, d, threads):
    splits = host.gram_splits(n, d, threads)
    assert 1 <= splits <= threads
    assert splits == 1 or splits * n * n <= n * d


@given(n=samples, d=features)
def test_rows_of_c_are_not_larger_than_an_embedding(n, d):
    rows = host.correlation_rows(n, d)
    assert 1 <= rows <= d and rows * d <= n * d


@given(count=st.integers(0, 10**6), parts=st.integers(1, 600))
def test_shares_cover_everything_once(count, parts):
    begins = [host.share_begin(count, parts, index) for index in range(parts + 1)]
    assert begins[0] == 0 and begins[-1] == count
    sizes = [end - begin for begin, end in pairwise(begins)]
    assert min(sizes) >= 0 and max(sizes) - min(sizes) <= 1


def test_shares_do_not_overflow():
    count = 2**40
    assert [host.share_begin(count, 512, index) for index in (0, 256, 512)] == [0, count // 2, count]


def test_names_compiler_and_instruction_sets():
    assert any(name in host.compiler() for name in ("gcc", "clang"))
    assert host.instruction_sets().startswith("default")
