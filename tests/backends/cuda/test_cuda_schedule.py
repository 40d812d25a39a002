"""How the CUDA kernels cut their work (csrc/cuda/schedule): all of it once, and nothing larger than promised."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_kernels.build_report import host_module, why_not_built

cuda = getattr(host_module(), "cuda", None)
pytestmark = [
    pytest.mark.runs_on("cpu"),
    pytest.mark.skipif(cuda is None, reason=f"bt_kernels._host: {why_not_built()}"),
]

CSRC = Path(__file__).parents[3] / "csrc"
KB = 1 << 10
MOST_TILES = 65535  # in a column of a triangle whose tiles an int counts
itemsizes = st.sampled_from([2, 4])
samples = st.integers(2, 1 << 16)
features = st.integers(1, 1 << 20)
multiprocessors = st.integers(1, 200)


def test_every_header_is_tested():
    included = (CSRC / "host" / "cuda_schedule.cpp").read_text()
    headers = {f"cuda/schedule/{path.name}" for path in (CSRC / "cuda" / "schedule").glob("*.h")}
    assert [header for header in headers if f'#include "{header}"' not in included] == []


def test_triangle_in_order():
    tiles = [(row, column) for column in range(300) for row in range(column + 1)]
    assert [cuda.triangle_tile(index) for index in range(len(tiles))] == tiles
    assert cuda.triangle_size(300) == len(tiles)


@given(st.integers(1, 60))
def test_packed_triangle_is_row_by_row(side):
    rows, columns = np.triu_indices(side)
    assert [cuda.packed_offset(i, j, side) for i, j in zip(rows, columns, strict=True)] == list(range(rows.size))


def test_packed_triangle_beyond_32_bits():
    side = 1 << 17
    assert cuda.packed_offset(side - 1, side - 1, side) == cuda.triangle_size(side) - 1


@given(st.integers(0, MOST_TILES - 1), st.floats(0, 1))
def test_triangle_beyond_what_float32_counts(column, where):
    row = round(where * column)
    for r in {0, row, column}:
        assert cuda.triangle_tile(cuda.triangle_size(column) + r) == (r, column)


@given(st.sampled_from([(128, 128), (128, 256)]), st.integers(1, 6000))
def test_gram_tiles_cover_the_triangle(tile, n):
    rows, columns = tile
    origins = [cuda.gram_tiles_origin(rows, columns, i) for i in range(cuda.gram_tiles_count(rows, columns, n))]
    blocks = -(-n // rows)
    covered = np.zeros((blocks + columns // rows, blocks + columns // rows), int)
    for row, column in origins:
        assert row % rows == 0 and column % columns == 0 and column < n
        covered[row // rows, column // rows : (column + columns) // rows] += 1
    above = np.triu(np.ones((blocks, blocks), bool))
    assert (covered[:blocks, :blocks][above] == 1).all()
    # No more than whole squares on the diagonal.
    squares = -(-n // columns)
    assert len(origins) == squares * (squares + 1) // 2 * (columns // rows)


@given(st.integers(1, 1000))
def test_tiles_of_a_square_follow_each_other(square):
    upper, lower = (cuda.gram_tiles_origin(128, 256, 2 * square + i) for i in (0, 1))
    assert lower == (upper[0] + 128, upper[1]) and upper[0] % 256 == 0


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 10))
def test_grouped_tiles_are_visited_once(rows, columns, group):
    visited = [cuda.grouped_tile(index, rows, columns, group) for index in range(rows * columns)]
    assert sorted(visited) == list(product(range(rows), range(columns)))
    groups = [row // group for row, _ in visited]
    assert groups == sorted(groups)


@given(st.integers(1, 25), st.integers(1, 20), st.sampled_from([2, 4, 8]))
def test_pairs_of_grouped_tiles_lie_above_each_other(half, columns, group):
    """They are a cluster, and share what belongs to a column."""
    for index in range(0, 2 * half * columns, 2):
        (row, column), below = (cuda.grouped_tile(index + i, 2 * half, columns, group) for i in (0, 1))
        assert below == (row + 1, column) and row % 2 == 0


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 20), st.floats(0, 1))
def test_grouped_tiles_beyond_32_bits(rows, columns, where):
    index = min(int(where * rows * columns), rows * columns - 1)
    row, column = cuda.grouped_tile(index, rows, columns, 8)
    first = row // 8 * 8
    assert 0 <= row < rows and 0 <= column < columns
    assert first * columns + column * min(8, rows - first) + row - first == index


@given(
    st.integers(1, 10_000),
    st.integers(1, 1 << 20),
    st.sampled_from([32, 64]),
    st.integers(1, 400),
    st.sampled_from([1 << 16, 1 << 17]),
    st.integers(0, 1 << 34),
)
def test_splits(tiles, length, step, slots, tile_bytes, budget):
    arguments = tiles, length, step, slots, tile_bytes, budget
    count, share = cuda.choose_splits(*arguments)
    assert 1 <= count <= cuda.MAX_SPLITS and share % step == 0
    assert (count - 1) * share < length <= count * share, "one is empty, or not all is covered"
    assert count == 1 or count * tiles * tile_bytes <= budget
    assert cuda.choose_splits(*arguments) == (count, share)


@given(st.integers(1, 20), st.integers(1, 1 << 20), st.integers(1, 400))
def test_no_split_where_the_tiles_fill_every_round(rounds, length, slots):
    assert cuda.choose_splits(rounds * slots, length, 64, slots, 1, 1 << 40)[0] == 1


@given(st.integers(1, 200), st.integers(1, 1 << 17), st.integers(1, 300), st.integers(0, 100))
def test_a_larger_gpu_has_no_fewer_splits(tiles, length, slots, more):
    """Where all of them run at a time: otherwise a split may be for the last round."""
    count, larger = (cuda.choose_splits(tiles, length, 64, x, 1, 1 << 40)[0] for x in (slots, slots + more))
    assert larger >= count or tiles * count > slots


def test_few_tiles_of_a_long_product_fill_the_gpu():
    count, _ = cuda.choose_splits(2, 1 << 20, 64, 132, 1 << 16, 1 << 30)
    assert 33 <= count <= 66


@given(st.integers(1, 1 << 20), st.integers(1, 128), multiprocessors, st.sampled_from([1, 4, 8]))
def test_combining_warps(pieces, splits, multiprocessors, most):
    warps = cuda.combining_warps(pieces, splits, multiprocessors, most)
    assert warps & (warps - 1) == 0 and 1 <= warps <= min(most, splits)
    # Twice as many would have no splits to add, or there are two blocks of them for every multiprocessor.
    assert 2 * warps > min(most, splits) or pieces * warps >= 2 * most * multiprocessors


@given(
    n=st.integers(2, 1 << 15),
    d=features,
    views=st.sampled_from([1, 2]),
    itemsize=itemsizes,
    multiple=st.sampled_from([64, 128, 256]),
)
def test_product_panel(n, d, views, itemsize, multiple):
    ldt = -(-n // 4) * 4
    panel = cuda.product_panel(n, d, views, ldt, itemsize, multiple)
    pieces, own = -(-d // multiple), panel // multiple
    panels = -(-pieces // own)
    assert panel % multiple == 0 and 1 <= own <= pieces
    assert panels * own - pieces < panels, "the last one is narrower than it need be"
    budget = min(max(2 * n * (d - n) * itemsize, cuda.PANEL_BYTES_AT_LEAST), cuda.PANEL_BYTES)
    assert own == 1 or 4 * views * ldt * panel <= budget


@given(samples, features, st.sampled_from([128, 256]))
def test_correlation_panel(n, d, multiple):
    panel = cuda.correlation_panel(n, d, multiple)
    wanted = min(d, max(512, 2 * n))
    assert panel % multiple == 0 and wanted <= panel < wanted + multiple


@given(st.integers(2, 128), st.integers(1, 8192), itemsizes, multiprocessors)
def test_fused_blocks(n, d, itemsize, multiprocessors):
    blocks = cuda.fused_blocks(n, d, itemsize, multiprocessors)
    column_blocks = -(-d * itemsize // 128)
    assert 0 <= blocks <= min(multiprocessors, column_blocks)
    assert blocks == 0 or column_blocks <= cuda.FUSED_ROUNDS * blocks
    assert blocks * cuda.FUSED_TILE_BYTES <= max(2 * n * d * itemsize, cuda.FUSED_BYTES_AT_LEAST)


def test_fused_where_k_fits_into_registers():
    assert cuda.fused_blocks(cuda.FUSED_SAMPLES, 2048, 2, 132) > 0
    assert cuda.fused_blocks(cuda.FUSED_SAMPLES + 1, 2048, 2, 132) == 0


@pytest.mark.parametrize("tile", sorted(cuda.shared_tiles) if cuda else (), ids=str)
def test_shared_tile(tile):
    """A box's 16-byte pieces are permuted, and eight rows' pieces of one column lie in other groups of banks."""
    itemsize, rows, columns = tile
    size, offset, offset_from = cuda.shared_tiles[tile]
    places = np.array([[offset(row, column) for column in range(columns)] for row in range(rows)])
    assert size == rows * columns * itemsize
    assert sorted(places.flat) == list(range(0, size, itemsize)), "two numbers in one place"
    pieces = places.reshape(rows, -1, 16 // itemsize)
    assert (pieces[:, :, 0] % 16 == 0).all()
    assert (pieces - pieces[:, :, :1] == itemsize * np.arange(16 // itemsize)).all()
    banks = (pieces[:, :, 0] // 16 % 8).reshape(rows // 8, 8, -1)
    assert (np.sort(banks, axis=1) == np.arange(8).reshape(1, 8, 1)).all()
    for first, row, column in product(range(0, rows, 8), range(8), range(0, columns, 7)):
        assert offset_from(first, row, column) == places[first + row, column]


@pytest.mark.parametrize("itemsize", [2, 4])
def test_crossed_samples_meet_no_bank_twice(itemsize):
    """T in gram_apply: rows of APPLY_SAMPLES words, written 16 bytes a lane, read by 8 pieces and 4 samples."""
    features, numbers = cuda.gram_apply_features(itemsize), 16 // itemsize
    places = np.array(
        [[cuda.crossed(n, p) for n in range(cuda.APPLY_SAMPLES)] for p in range(features // numbers)]
    )
    assert (np.sort(places, axis=1) == np.arange(cuda.APPLY_SAMPLES)).all()
    fours = places.reshape(len(places), -1, 4)
    assert (fours[:, :, 0] % 4 == 0).all() and (fours - fours[:, :, :1] == np.arange(4)).all()
    for four in range(fours.shape[1]):
        banks = fours[:8, four] % 32  # a feature's row begins at a multiple of 32 words
        assert len(set(banks.flat)) == 32


@given(
    samples,
    features,
    itemsizes,
    multiprocessors,
    st.sampled_from([99 * KB, 163 * KB, 227 * KB]),
    st.sampled_from([1, 8, 16]),
)
def test_standardize_plan(n, d, itemsize, multiprocessors, shared_bytes, max_cluster):
    cluster, share, chunk = cuda.standardize_plan(n, d, itemsize, multiprocessors, shared_bytes, max_cluster)
    assert 1 <= cluster <= max_cluster and cluster & (cluster - 1) == 0
    assert share == -(-n // cluster)
    assert chunk > 0 and chunk % cuda.ROUND_ROWS == 0
    used = cuda.standardize_shared_bytes(chunk, itemsize)
    assert used <= shared_bytes
    if chunk < share:  # z is read twice, and only where its rows cannot stay
        assert share > cuda.standardize_rows_in(shared_bytes, itemsize)
        assert cluster == max_cluster
        assert 2 * (used + cuda.RESERVED_BYTES) <= shared_bytes + cuda.RESERVED_BYTES
    rows = [cuda.rows_of_block(n, share, rank) for rank in range(cluster)]
    assert sum(rows) == n and rows[0] == share and min(rows) >= 0


@given(
    st.integers(1, 1 << 16),
    features,
    itemsizes,
    multiprocessors,
    st.sampled_from([99 * KB, 163 * KB, 227 * KB]),
    st.sampled_from([1, 8, 16]),
)
def test_standardize_given_plan(n, d, itemsize, multiprocessors, shared_bytes, max_cluster):
    """Rows are shared out as ever, but none has to stay: two blocks fit on a multiprocessor at the least."""
    cluster, share, chunk = cuda.standardize_given_plan(n, d, itemsize, multiprocessors, shared_bytes, max_cluster)
    assert 1 <= cluster <= min(max_cluster, 8) and cluster & (cluster - 1) == 0
    assert share == -(-n // cluster)
    assert 0 < chunk <= cuda.GOOD_SHARE and chunk % cuda.ROUND_ROWS == 0
    used = cuda.standardize_shared_bytes(chunk, itemsize) + cuda.RESERVED_BYTES
    assert 2 * used <= shared_bytes + cuda.RESERVED_BYTES


def test_four_blocks_of_standardize_on_a_multiprocessor_of_hopper():
    _, share, chunk = cuda.standardize_plan(1024, 8192, 2, 132, 227 * KB, 16)
    assert share <= chunk
    assert 4 * (cuda.standardize_shared_bytes(chunk, 2) + cuda.RESERVED_BYTES) <= 228 * KB


@given(st.integers(0, 5000), st.integers(0, 20))
def test_rows_of_warps(rows, rounds):
    warps = range(cuda.STANDARDIZE_WARPS)
    owner = np.arange(rows) % cuda.ROUND_ROWS // cuda.ROWS_AT_ONCE
    assert [cuda.rows_of_warp(rows, warp) for warp in warps] == np.bincount(owner, minlength=len(warps)).tolist()
    # Of a chunk that begins after some rounds, the same warps have the same rows.
    before = rounds * cuda.ROUND_ROWS
    for warp in warps:
        assert cuda.rows_of_warp(before + rows, warp) == cuda.rows_of_warp(before, warp) + cuda.rows_of_warp(
            rows, warp
        )
