"""What the tables and formulas of heuristics.py promise the launches, for every table, kind and size."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.heuristics import Gpu
from tests.triton_compiled.tables import GPUS, ITEMSIZES, SMALL_GPUS, TABLES

BEYOND_N = 1 << 17

ROWS = [(table, kind, limit) for table, kinds in TABLES.items() for kind, rows in kinds.items() for limit in rows]
TILES = sorted({tile for table, kind, limit in ROWS for tile in TABLES[table][kind][limit]}, key=str)
every_gpu = pytest.mark.parametrize(
    "gpu", [*SMALL_GPUS, GPUS[80], GPUS[90]], ids=lambda x: f"{x.shared_bytes >> 10}K"
)
every_list = pytest.mark.parametrize("table, kind, limit", ROWS)
every_tile = pytest.mark.parametrize("tile", TILES, ids=str)


def is_power_of_two(x: int) -> bool:
    return x > 0 and x & (x - 1) == 0


@every_list
@every_gpu
def test_pick_takes_the_first_tile_that_fits(table, kind, limit, gpu):
    tiles, itemsize = TABLES[table][kind][limit], ITEMSIZES[kind]
    fitting = [tile for tile in tiles if tile.shared_bytes(itemsize) <= gpu.shared_bytes]
    picked = heuristics.pick(TABLES[table], kind, limit or BEYOND_N, itemsize, gpu)
    assert picked == (fitting or tiles)[0 if fitting else -1]


@every_list
def test_there_is_a_tile_for_every_supported_gpu(table, kind, limit):
    least = min(tile.shared_bytes(ITEMSIZES[kind]) for tile in TABLES[table][kind][limit])
    smallest = SMALL_GPUS[0] if kind == "tf32" else SMALL_GPUS[1]  # tf32 is not for AMD
    assert least <= smallest.shared_bytes


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ITEMSIZES)
def test_limits_ascend_to_the_last_size(table, kind):
    *limits, last = TABLES[table][kind]
    assert limits == sorted(limits)
    assert last == (heuristics.FUSED_MAX_N if table == "GRAM_BACKWARD" else None)


@pytest.mark.parametrize("kind", ITEMSIZES)
@every_gpu
def test_gram_backward_holds_all_rows(kind, gpu):
    for n in range(1, heuristics.FUSED_MAX_N + 1):
        assert heuristics.pick(heuristics.GRAM_BACKWARD, kind, n, ITEMSIZES[kind], gpu).m >= n


@every_tile
def test_tile(tile):
    assert all(map(is_power_of_two, (tile.m, tile.n, tile.k, tile.warps)))
    assert heuristics.ROW_MULTIPLE % tile.k == 0, "the loop over features would have a ragged end"
    assert tile.k >= 16, "tl.dot of Triton 3.6 takes no less"
    assert 1 <= tile.warps <= 32 and tile.stages >= 1


def test_gram_tiles_are_squares_of_whole_strips():
    tiles = [tile for rows in heuristics.GRAM_TILES.values() for tiles in rows.values() for tile in tiles]
    assert all(tile.m == tile.n and tile.m % heuristics.COMBINE_ROWS == 0 for tile in tiles)


@every_tile
def test_combine_warps(tile):
    warps = heuristics.combine_warps(tile)
    assert is_power_of_two(warps) and warps <= 32
    assert tile.m * tile.n <= 32 * 32 * warps, "more than 32 numbers per thread"


sizes = st.integers(1, 1 << 20)


@given(st.integers(1, 10_000), sizes, st.integers(1, 400), st.integers(1, 1 << 34), st.integers(0, 1 << 40))
def test_split_factor_bounds(tiles, steps, slots, bytes_per_split, budget):
    splits = heuristics.split_factor(tiles, steps, slots, bytes_per_split, budget)
    assert 1 <= splits <= steps
    assert splits == 1 or splits * bytes_per_split <= budget
    heuristics.split_factor.cache_clear()
    assert heuristics.split_factor(tiles, steps, slots, bytes_per_split, budget) == splits


@given(st.integers(1, 20), sizes, st.integers(1, 400))
def test_no_split_where_the_tiles_fill_every_round(rounds, steps, slots):
    """Elsewhere a split may pay though there are more tiles than slots: it fills the last round."""
    assert heuristics.split_factor(rounds * slots, steps, slots, 1, 1 << 40) == 1


def test_few_tiles_of_a_long_product_fill_the_gpu():
    splits = heuristics.split_factor(2, 4096, 132, 1 << 16, 1 << 30)
    assert 33 <= splits <= 66


@given(st.integers(1, 1 << 15), st.integers(1, 1 << 20), st.sampled_from([2, 4]))
def test_panel_budget(n, d, itemsize):
    budget = heuristics.panel_budget(n, d, itemsize)
    assert heuristics.PANEL_BYTES_AT_LEAST <= budget <= heuristics.PANEL_BYTES


@given(
    st.integers(1, 1 << 15),
    st.integers(1, 1 << 17),
    st.sampled_from([1, 2]),
    st.sampled_from(TILES),
    st.integers(1, 400),
    st.integers(1 << 10, 1 << 26),
)
def test_panel_width(n, d, views, tile, slots, budget):
    width = heuristics.panel_width(n, d, views, tile, slots, budget)
    assert width > 0 and width % tile.n == 0
    assert width < d + tile.n, "wider than all features"
    assert width == tile.n or 4 * views * n * width <= budget


def test_standardize_block():
    for n in [*range(1, 2 * heuristics.FUSED_MAX_N), BEYOND_N]:
        block = heuristics.standardize_block(n)
        assert all(map(is_power_of_two, (block.n, block.d, block.warps)))
        assert block.n * block.d == 16 * 32 * block.warps, "16 numbers per thread"
        assert block.n >= n or n > heuristics.FUSED_MAX_N
        assert heuristics.ROW_MULTIPLE % block.d == 0


@given(st.integers(1, 4096), st.integers(1, 1 << 20), st.sampled_from(list(ITEMSIZES)), st.integers(1, 400))
def test_shares_of_the_gram_product_cover_all_features(n, d, kind, multiprocessors):
    gram = pytest.importorskip("bt_kernels.backends.triton.gram", reason="Triton is not installed")
    itemsize = ITEMSIZES[kind]
    ld = -(-d // heuristics.ROW_MULTIPLE) * heuristics.ROW_MULTIPLE
    here = Gpu(multiprocessors, 99 << 10)
    tile = heuristics.pick(heuristics.GRAM_TILES, kind, n, itemsize, here)
    splits, share = gram.gram_splits(n, ld, tile, itemsize, here)
    assert share % tile.k == 0
    assert (splits - 1) * share < ld <= splits * share
    side = -(-n // tile.m)
    split_bytes = 4 * splits * side * (side + 1) * tile.m * tile.n
    assert splits == 1 or split_bytes <= 2 * n * ld * itemsize, "more than the embeddings"
