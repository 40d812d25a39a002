"""Every way through the Triton kernels on small embeddings: the choices that only large ones, other GPUs or a
forced formulation would make are made by hand."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton
import triton.language as tl

from bt_kernels.backends.stages import Batch
from bt_kernels.backends.triton import BACKEND, heuristics
from bt_kernels.backends.triton.heuristics import Block, Gpu
from bt_kernels.backends.triton.kernels.tiles import packed_offset
from bt_kernels.options import LossOptions
from tests.support.accuracy import Formula, assert_column_sums_are_rounding, evaluate
from tests.support.inputs import views
from tests.support.shares import correlation_in_shares, gram_in_shares, statistics_of
from tests.support.target import device

pytestmark = [
    pytest.mark.runs_on("interpreter", "cuda"),
    pytest.mark.backends("triton"),
    pytest.mark.all_combinations("each is a way through the kernels"),
]

STANDARDIZE = "bt_kernels.backends.triton.standardize.standardize_block"
FORMULA = Formula(lambd=0.05, output_gradients=(1.5, 0.5, 0.25))
all_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
two_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)


def meets_the_standard(terms, expected) -> None:
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))


@pytest.fixture
def one_view_meets_the_standard(terms, yardstick):
    def check(shape, dtype, trained):
        expected = yardstick(*shape, dtype)
        z = [z.clone().requires_grad_(i == trained) for i, z in enumerate((expected.z_a, expected.z_b))]
        loss = terms(*z)
        expected.check_terms(loss)
        expected.check_gradient(trained, torch.autograd.grad(loss.loss, z[trained])[0])

    return check


@pytest.fixture
def shares_meet_the_standard(backend, formulation, yardstick):
    """The same of a forward in halves. The statistics are given in both forms."""

    def check(shape, cut, dtype):
        in_shares = gram_in_shares if formulation == "gram" else correlation_in_shares
        expected = yardstick(*shape, dtype, FORMULA)
        options = LossOptions(FORMULA.lambd, FORMULA.scale, FORMULA.eps, FORMULA.unbiased)
        statistics = statistics_of(expected.z_a, expected.z_b, FORMULA)
        arguments = expected.z_a, expected.z_b, (cut,), FORMULA, options, statistics, Batch(shape[0])
        expected.check(in_shares(BACKEND, *arguments))

    return check


@pytest.fixture
def forced_splits(monkeypatch):
    """force(count): products over this many shares; returns how many were possible, as a list that fills."""
    steps_seen = []

    def force(count):
        def split_factor(tiles, steps, *rest):
            steps_seen.append(steps)
            return min(steps, count)

        monkeypatch.setattr(heuristics, "split_factor", split_factor)
        return steps_seen

    return force


@two_dtypes
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_splits(terms, yardstick, formulation, forced_splits, count, dtype):
    """Shares of the features for gram, of the batch for correlation; the last one may be shorter."""
    steps = forced_splits(count)
    shape = (20, 400) if formulation == "gram" else (230, 20)
    meets_the_standard(terms, yardstick(*shape, dtype, FORMULA))
    assert min(steps) >= 4


@two_dtypes
@pytest.mark.parametrize("count", [1, 3])
def test_splits_of_shares(shares_meet_the_standard, formulation, forced_splits, count, dtype):
    steps = forced_splits(count)
    shape = (20, 400) if formulation == "gram" else (230, 20)
    shares_meet_the_standard(shape, shape[formulation == "gram"] // 2 + 5, dtype)
    assert min(steps) >= 2


@pytest.fixture
def small_panels(monkeypatch):
    """gram's gradient with two launches a panel, a tile wide, whatever N; correlation's with few rows of C."""
    monkeypatch.setattr(heuristics, "FUSED_MAX_N", 0)
    monkeypatch.setattr(heuristics, "PANEL_BYTES", 1)
    monkeypatch.setattr(heuristics, "FORCED_PANEL", 1)


@all_dtypes
@pytest.mark.parametrize("n", [20, 64])
def test_gradient_by_panels(small_panels, terms, yardstick, n, dtype):
    """Three panels for gram, the last one narrower than the others; four for correlation, 40 rows of C and 10.
    Steps over samples are full for 64 of them."""
    meets_the_standard(terms, yardstick(n, 130, dtype, FORMULA))


def test_gradient_of_shares_by_panels(small_panels, shares_meet_the_standard):
    """Correlation has C in shares and so no panels."""
    shares_meet_the_standard((20, 130), 15, torch.float32)


def test_gradient_by_panels_over_several_tiles_of_rows(small_panels, terms, yardstick):
    meets_the_standard(terms, yardstick(70, 150, torch.float32, FORMULA))


@pytest.mark.parametrize("trained", [0, 1])
def test_gradient_of_one_view_by_panels(small_panels, one_view_meets_the_standard, trained):
    one_view_meets_the_standard((20, 130), torch.bfloat16, trained)


def test_panels_of_several_tiles(monkeypatch, terms, yardstick):
    """Four tiles of features in panels of two and then of two again, the last of them ragged."""
    monkeypatch.setattr(heuristics, "FUSED_MAX_N", 0)
    monkeypatch.setattr(heuristics, "PANEL_BYTES", 4 * 2 * 20 * 64 * 2)
    meets_the_standard(terms, yardstick(20, 200, torch.float32, FORMULA))


@two_dtypes
@pytest.mark.parametrize("shape", [(70, 130), (130, 70)], ids=str)
def test_tiles_for_little_shared_memory(monkeypatch, terms, yardstick, shape, dtype):
    fitting = heuristics.fitting
    least = Gpu(multiprocessors=4, shared_bytes=0)
    monkeypatch.setattr(heuristics, "fitting", lambda *arguments: fitting(*arguments[:-1], least))
    meets_the_standard(terms, yardstick(*shape, dtype, FORMULA))


def test_groups_of_tiles(monkeypatch, terms, yardstick):
    """Three rows of tiles walked two at a time, so that the last group is not full; gram's are in its panels."""
    monkeypatch.setattr(heuristics, "FUSED_MAX_N", 0)
    monkeypatch.setattr(heuristics, "GROUP", 2)
    meets_the_standard(terms, yardstick(150, 150, torch.float32, FORMULA))


@pytest.mark.parametrize("formulation", ["gram"])
def test_batches_of_16_bits_beyond_one_block(terms, yardstick):
    """More samples than a program of the backward holds; of float32 LARGE has them."""
    meets_the_standard(terms, yardstick(515, 8, torch.float16, Formula()))


def test_tiles_of_shares(monkeypatch, shares_meet_the_standard):
    """Gram: 2 x 2 tiles as for N > 512. Correlation: rows of tiles walked one at a time."""
    for rows in heuristics.GRAM_TILES.values():
        monkeypatch.setitem(rows, 512, rows[None])
    monkeypatch.setattr(heuristics, "GROUP", 1)
    shares_meet_the_standard((150, 140), 65, torch.bfloat16)


@triton.jit
def packed_offsets_kernel(rows, columns, offsets, N, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(offsets + index, packed_offset(tl.load(rows + index), tl.load(columns + index), N))


def test_a_packed_triangle_of_more_than_32_bits():
    n = 100_003
    last = n - 1
    corners = (
        (0, 0),
        (0, last),
        (1, 1),
        (last, 0),
        (60_000, 70_000),
        (70_000, 60_000),
        (last, n - 2),
        (last, last),
    )
    rows, columns = torch.tensor(corners, dtype=torch.int32, device=device()).T.contiguous()
    offsets = torch.empty(len(corners), dtype=torch.int64, device=device())
    packed_offsets_kernel[(1,)](rows, columns, offsets, n, BLOCK=len(corners))
    above = [sum(range(n, n - min(corner), -1)) for corner in corners]
    expected = [start + max(corner) - min(corner) for start, corner in zip(above, corners, strict=True)]
    assert offsets.tolist() == expected and expected[-1] == n * (n + 1) // 2 - 1


@pytest.fixture
def chunks(monkeypatch):
    """The statistics of 16 rows at a time, as for N > 512."""
    monkeypatch.setattr(STANDARDIZE, lambda n: Block(16, 64, 1))


@all_dtypes
@pytest.mark.parametrize("shape", [(16, 40), (17, 70), (40, 70)], ids=str)
def test_chunks_of_the_batch(chunks, terms, yardstick, shape, dtype):
    meets_the_standard(terms, yardstick(*shape, dtype, FORMULA))


@two_dtypes
def test_chunks_of_a_share(chunks, shares_meet_the_standard, dtype):
    shares_meet_the_standard((40, 70), 17, dtype)


def test_chunks_with_a_mean_of_1e4(chunks, terms, yardstick_of):
    expected = yardstick_of(*(z + 1e4 for z in views(40, 24)), FORMULA)
    result = evaluate(terms, expected.z_a, expected.z_b, FORMULA)
    expected.check(result)
    assert_column_sums_are_rounding(result.gradients)


def test_chunks_with_means_far_apart(chunks, terms, yardstick_of):
    """The difference of the chunks' means is nearly all of the variance here."""
    step = 100.0 * (torch.arange(40) // 16)[:, None]
    z_a, z_b = (z + step.to(z.device) for z in views(40, 24))
    meets_the_standard(terms, yardstick_of(z_a, z_b, FORMULA))


@pytest.mark.parametrize("exponent", [-60, 110])
def test_chunks_of_any_magnitude(chunks, terms, yardstick, exponent):
    formula = Formula(eps=0.0)
    expected = yardstick(40, 24, torch.float32, formula)
    expected.check_terms(terms(expected.z_a * 2.0**exponent, expected.z_b * 2.0**exponent, **formula.options()))


def test_chunks_of_features_that_do_not_vary(chunks, terms, yardstick_of):
    z_a, z_b = views(40, 24)
    z_a[:, 3] = -3.0
    z_b[:, 5] = 0.1
    meets_the_standard(terms, yardstick_of(z_a, z_b, FORMULA))


@pytest.mark.parametrize("row", [0, 20, 39])
def test_nan_in_any_chunk(chunks, terms, row):
    z_a, z_b = views(40, 24)
    z_b[row, 7] = torch.nan
    assert all(term.isnan() for term in terms(z_a, z_b))
