"""Every way through the CUDA kernels on small embeddings: the choices that only large ones, other GPUs or a forced
formulation would make, forwards in halves, and copies and products as early or as late as they may be."""

import ctypes
from typing import NamedTuple

import pytest
import torch

from bt_kernels.backends.cuda import BACKEND
from bt_kernels.backends.stages import Batch
from bt_kernels.options import LossOptions
from tests.support import target
from tests.support.accuracy import Formula, assert_column_sums_are_rounding, evaluate
from tests.support.inputs import views
from tests.support.shares import statistics_of

pytestmark = pytest.mark.runs_on("emulated")

FORMULA = Formula(lambd=0.05, output_gradients=(1.5, 0.5, 0.25))
all_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
gram_alone = pytest.mark.parametrize("formulation", ["gram"])
correlation_alone = pytest.mark.parametrize("formulation", ["correlation"])
two_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


class Gpu(NamedTuple):
    """What the kernels are chosen by."""

    capability: int
    multiprocessors: int
    shared_bytes: int
    max_cluster: int


A100 = Gpu(80, 108, 163 << 10, 1)
RTX_3090 = Gpu(86, 82, 99 << 10, 1)
H200 = Gpu(90, 132, 227 << 10, 16)
B200 = Gpu(100, 148, 227 << 10, 16)
RTX_5090 = Gpu(120, 170, 99 << 10, 8)
DEFAULT = Gpu(90, 4, 227 << 10, 16)  # few multiprocessors: few splits to run on a CPU
EARLY, LATE, CROSSED = 0, 1, 3


@pytest.fixture
def library():
    return ctypes.CDLL(target.emulated_library())


@pytest.fixture
def choose(library):
    """choose(gpu, asynchrony=...) for the rest of the test."""

    def choose(gpu: Gpu, asynchrony: int | None = None) -> None:
        library.bt_emulated_gpu(*gpu)
        if asynchrony is not None:
            library.bt_emulated_asynchrony(asynchrony)

    yield choose
    library.bt_emulated_gpu(*DEFAULT)
    library.bt_emulated_asynchrony(2)


@pytest.fixture
def meets_the_standard(terms, yardstick):
    def check(shape, dtype, formula=FORMULA):
        expected = yardstick(*shape, dtype, formula)
        expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))

    return check


@pytest.mark.all_combinations("every family of kernels with every type")
@all_dtypes
@pytest.mark.parametrize("shape", [(33, 70), (150, 200), (200, 150)], ids=str)
@pytest.mark.parametrize("gpu", [A100, RTX_3090, H200, B200, RTX_5090], ids=lambda gpu: f"sm_{gpu.capability}")
def test_gpus(choose, meets_the_standard, gpu, shape, dtype):
    choose(gpu)
    meets_the_standard(shape, dtype)


@all_dtypes
@pytest.mark.parametrize("asynchrony", [EARLY, LATE, CROSSED])
@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
def test_copies_and_products_early_and_late(choose, meets_the_standard, gpu, asynchrony, dtype):
    """Several times the pipeline's stages along every summed index, and a cluster of three."""
    choose(gpu._replace(multiprocessors=1), asynchrony)
    meets_the_standard((300, 310), dtype)


@two_dtypes
@pytest.mark.parametrize("multiprocessors", [1, 3, 40])
def test_splits(choose, meets_the_standard, formulation, multiprocessors, dtype):
    """Shares of the features for gram, of the batch for correlation; the last one may be shorter."""
    choose(DEFAULT._replace(multiprocessors=multiprocessors))
    meets_the_standard((20, 700) if formulation == "gram" else (700, 20), dtype)


def views_in_groups(n: int, d: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Every third feature follows the others of its kind: sums over C's rows and columns in a wrong place are far
    off."""
    z_a, z_b = views(n, d, dtype)
    for z in (z_a, z_b):
        z[:, ::3] = z[:, :1] + 0.3 * z[:, ::3]
    return z_a, z_b


@two_dtypes
@pytest.mark.parametrize("capability", [80, 90])
@correlation_alone
def test_tiles_of_c_off_its_diagonal(choose, terms, yardstick_of, capability, dtype):
    """Of which every number counts: the epilogue does not ask. The last ones are cut off by D."""
    choose(A100 if capability == 80 else H200)
    z_a, z_b = views_in_groups(600, 600, dtype)
    yardstick_of(z_a, z_b, FORMULA).check(evaluate(terms, z_a, z_b, FORMULA))


@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@correlation_alone
def test_tiles_of_c_from_splits(choose, terms, yardstick_of, gpu):
    """A tile's columns are shared out over several blocks then."""
    choose(gpu)
    z_a, z_b = views_in_groups(2048, 200, torch.bfloat16)
    yardstick_of(z_a, z_b, FORMULA).check(evaluate(terms, z_a, z_b, FORMULA))


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.long)], ids=str)
@pytest.mark.parametrize(
    "gpu", [pytest.param(A100, marks=pytest.mark.long), H200], ids=lambda gpu: f"sm_{gpu.capability}"
)
@gram_alone
def test_splits_of_gram_tiles(choose, meets_the_standard, gpu, dtype):
    """More samples than are standardized and multiplied at once, and embeddings whose tiles of K are split."""
    choose(gpu)
    meets_the_standard((140, 4200), dtype)


@two_dtypes
@pytest.mark.parametrize("n, gpu", [(40, H200), (150, H200), (150, A100)], ids=str)
@gram_alone
def test_views_of_different_spread(choose, terms, yardstick_of, n, gpu, dtype):
    """K_a and K_b with traces far apart: a view's gradient takes the other one's shift and unit."""
    choose(gpu)
    z_a, z_b = views(n, 70, dtype)
    z_b[:, 10:] = 1.5
    expected = yardstick_of(z_a, z_b, FORMULA)
    expected.check(evaluate(terms, z_a, z_b, FORMULA))


@two_dtypes
@pytest.mark.parametrize("n, gpu", [(5, H200), (130, H200), (130, A100)], ids=str)
def test_unbiased(choose, meets_the_standard, n, gpu, dtype):
    choose(gpu)
    meets_the_standard((n, 70), dtype, Formula(lambd=0.05, unbiased=True, output_gradients=(1.5, 0.5, 0.25)))


# Per operand type: rows of samples that one, several and too many blocks of a cluster hold, and both tile widths.
@pytest.mark.parametrize(
    "n, gpu",
    [
        (127, H200),
        (129, H200),
        (600, H200),
        (1025, H200),
        (1300, RTX_5090),
        (2049, H200),
        (129, A100),
        (600, A100),
    ],
    ids=lambda value: f"sm_{value.capability}" if isinstance(value, Gpu) else str(value),
)
@two_dtypes
@gram_alone
def test_batches_in_clusters_and_beyond(choose, meets_the_standard, n, gpu, dtype):
    choose(gpu._replace(multiprocessors=4))
    meets_the_standard((n, 40), dtype)


@gram_alone
def test_batches_of_16_bits_beyond_one_block(meets_the_standard):
    """Of the other 16-bit type, on the GPU with tiles of two widths."""
    meets_the_standard((515, 8), torch.float16)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.long)], ids=str)
@gram_alone
def test_several_panels_of_the_product(choose, meets_the_standard, dtype):
    """Without clusters, 1100 samples and 1000 features need a second panel of T."""
    choose(A100)
    meets_the_standard((1100, 1000), dtype)


@two_dtypes
@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@correlation_alone
def test_several_panels_of_c(choose, meets_the_standard, gpu, dtype):
    """Correlation with N < D: 512 rows of C at a time, then 88."""
    choose(gpu)
    meets_the_standard((20, 600), dtype)


@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@pytest.mark.parametrize("n", [130, 600])
@pytest.mark.parametrize("trained", [0, 1])
def test_gradient_of_one_view(choose, terms, yardstick, gpu, n, trained):
    choose(gpu)
    expected = yardstick(n, 70, torch.bfloat16)
    z = [z.clone().requires_grad_(i == trained) for i, z in enumerate((expected.z_a, expected.z_b))]
    loss = terms(*z)
    expected.check_terms(loss)
    expected.check_gradient(trained, torch.autograd.grad(loss.loss, z[trained])[0])


# 1100 rows of z do not fit into a block's shared memory there: read again, in chunks. On an H200 they fit into
# a cluster's.
CHUNKED = [A100, RTX_3090]


@all_dtypes
@pytest.mark.parametrize("gpu", CHUNKED, ids=lambda gpu: f"sm_{gpu.capability}")
def test_statistics_in_chunks(choose, meets_the_standard, gpu, dtype):
    choose(gpu)
    meets_the_standard((1100, 40), dtype)


@pytest.mark.parametrize("gpu", [H200, *CHUNKED], ids=str)
@pytest.mark.parametrize("n", [40, 1100])
def test_a_mean_of_1e4(choose, terms, yardstick_of, gpu, n):
    choose(gpu)
    expected = yardstick_of(*(z + 1e4 for z in views(n, 24)), FORMULA)
    result = evaluate(terms, expected.z_a, expected.z_b, FORMULA)
    expected.check(result)
    assert_column_sums_are_rounding(result.gradients)


@pytest.mark.parametrize("gpu", [H200, *CHUNKED], ids=str)
def test_means_far_apart(choose, terms, yardstick_of, gpu):
    """What Chan's update adds for the difference of two blocks' means is nearly all of the variance here."""
    choose(gpu)
    step = 100.0 * (torch.arange(1100) // 100)[:, None]
    z_a, z_b = (z + step for z in views(1100, 24))
    expected = yardstick_of(z_a, z_b, FORMULA)
    expected.check(evaluate(terms, z_a, z_b, FORMULA))


@pytest.mark.parametrize("gpu", [H200, *CHUNKED], ids=str)
@pytest.mark.parametrize("row", [0, 600, 1099])
def test_nan_anywhere_in_the_batch(choose, terms, gpu, row):
    choose(gpu)
    z_a, z_b = views(1100, 24)
    z_b[row, 7] = torch.nan
    assert all(term.isnan() for term in terms(z_a, z_b))


@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
def test_same_bits_however_blocks_are_ordered(choose, terms, gpu):
    """Blocks end in another order each time: the last one, which writes the loss, is another one too."""
    choose(gpu)
    z_a, z_b = views(150, 200, torch.bfloat16)
    first, *others = (evaluate(terms, z_a, z_b, FORMULA) for _ in range(4))
    for other in others:
        assert all(map(torch.equal, first.terms + first.gradients, other.terms + other.gradients))


@pytest.mark.parametrize("n", [40, 300])  # one block, and a cluster
def test_shifts_are_the_mean_diagonals_of_the_gram_matrices(backend, n):
    """The gradient is right with any shift, and loses digits with a wrong one."""
    z_a, z_b = views(n, 70, torch.bfloat16)
    z_b[:, 10:] = 1.5
    y, shifts, _ = torch.ops.bt_kernels_cuda.gram_forward(z_a, z_b, 0.0051, 1.0, 1e-5, False, False, True)[5:]
    expected = y[:, :, :70].double().square().sum((1, 2)) / n
    torch.testing.assert_close(shifts.double(), expected, rtol=1e-5, atol=0)


@pytest.fixture
def halves_meet_the_standard(in_shares, yardstick, formulation):
    """The forward in halves, in two shares of the features or of the rows."""

    def check(shape, dtype, cut, given=False):
        expected = yardstick(*shape, dtype, FORMULA)
        given = given or formulation == "correlation"
        statistics = statistics_of(expected.z_a, expected.z_b, FORMULA) if given else None
        options = LossOptions(lambd=FORMULA.lambd)
        batch = Batch(shape[0])
        expected.check(in_shares(expected.z_a, expected.z_b, (cut,), FORMULA, options, statistics, batch))

    return check


@two_dtypes
@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@pytest.mark.parametrize("asynchrony", [EARLY, CROSSED])
def test_halves(choose, halves_meet_the_standard, gpu, asynchrony, dtype):
    """Several tiles of K and of C, and rows of z that begin anywhere."""
    choose(gpu, asynchrony)
    halves_meet_the_standard((150, 135), dtype, cut=65)


@two_dtypes
@pytest.mark.parametrize("multiprocessors", [1, 40])
def test_halves_of_splits(choose, halves_meet_the_standard, formulation, multiprocessors, dtype):
    choose(DEFAULT._replace(multiprocessors=multiprocessors))
    halves_meet_the_standard((20, 700) if formulation == "gram" else (700, 20), dtype, cut=300)


@two_dtypes
@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@pytest.mark.parametrize("n", [40, 600])
@gram_alone
def test_given_statistics_and_wide_tiles(choose, halves_meet_the_standard, gpu, n, dtype):
    choose(gpu)
    halves_meet_the_standard((n, 40), dtype, cut=9, given=True)


@two_dtypes
@pytest.mark.parametrize("gpu", [A100, RTX_3090, H200], ids=lambda gpu: f"sm_{gpu.capability}")
@correlation_alone
def test_given_statistics_in_chunks(choose, halves_meet_the_standard, gpu, dtype):
    """More rows than a block has in shared memory at a time, in one block and in a cluster."""
    choose(gpu)
    halves_meet_the_standard((1100, 24), dtype, cut=3)


@pytest.mark.parametrize("gpu", [A100, H200], ids=lambda gpu: f"sm_{gpu.capability}")
def test_halves_have_the_same_bits_however_blocks_are_ordered(choose, in_shares, formulation, gpu):
    choose(gpu)
    z_a, z_b = views(150, 135, torch.bfloat16)
    statistics = statistics_of(z_a, z_b, FORMULA) if formulation == "correlation" else None
    arguments = z_a, z_b, (65,), FORMULA, LossOptions(), statistics, Batch(150)
    first, *others = (in_shares(*arguments) for _ in range(3))
    for other in others:
        assert all(map(torch.equal, first.terms + first.gradients, other.terms + other.gradients))


@two_dtypes
@pytest.mark.parametrize("n", [40, 150])  # standardize_gram, and two kernels
def test_triangles_are_k_less_its_shift(backend, n, dtype):
    z_a, z_b = views(n, 70, dtype)
    triangles, sums, (c_diagonal, _, y) = BACKEND.gram_partial(z_a, z_b, LossOptions(), None, True)
    y = y[:, :, :70].double()
    k = y @ y.mT - sums[2:, None, None] * torch.eye(n)
    assert torch.equal(sums[2:], sums[2:].float().double())
    scale, (rows, columns) = sums[2:].max().item(), torch.triu_indices(n, n)
    torch.testing.assert_close(triangles.double(), k[:, rows, columns], rtol=0, atol=1e-6 * scale)
    expected = ((1 - c_diagonal.double()) ** 2).sum(), ((y[0] * y[1]).sum(0) / n).square().sum()
    torch.testing.assert_close(sums[:2], torch.stack(expected), rtol=1e-6, atol=0)
    torch.testing.assert_close(sums[2:], y.square().sum((1, 2)) / n, rtol=1e-6, atol=0)


@two_dtypes
def test_c_between_the_halves_has_the_diagonal_of_y_before_it_was_rounded(backend, dtype):
    z_a, z_b = views(33, 70, dtype)
    statistics = statistics_of(z_a, z_b, FORMULA)
    z = torch.stack([z_a, z_b]).double()
    y = (z - statistics.mean[:, None]) * statistics.rstd[:, None]
    c, (rstd, rounded) = BACKEND.correlation_partial(z_a[5:], z_b[5:], statistics, 33, True)
    diagonal = (y[0, 5:] * y[1, 5:]).sum(0) / 33
    torch.testing.assert_close(c.diagonal().double(), diagonal, rtol=0, atol=1e-6)
    of_rounded = rounded[0, :, :70].double().mT @ rounded[1, :, :70].double() / 33
    torch.testing.assert_close(c.fill_diagonal_(0).double(), of_rounded.fill_diagonal_(0), rtol=0, atol=1e-6)
    assert torch.equal(rstd, statistics.rstd.float())
