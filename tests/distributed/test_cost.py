"""The cost model: the numbers of the paper's setting, the formulations' border, one answer everywhere."""

import pytest

from bt_kernels.distributed.cost import (
    choose_distributed_formulation,
    correlation_bytes,
    features_of,
    gram_bytes,
)
from bt_kernels.formulation import choose_formulation


def test_the_papers_setting():
    """2048 samples over 32 ranks, D = 8192, bfloat16: 4 MB of embeddings and 34 of triangles, or 520 MB of C."""
    rows = (64,) * 32
    embeddings = 4 * 64 * 8192 * 2 * 31 / 32
    triangles = 2 * (2048 * 2049 + 8) * 4 * 31 / 32
    assert gram_bytes(rows, 8192, 5, 2) == pytest.approx(embeddings + triangles, rel=1e-6)
    assert correlation_bytes(rows, 8192, 2) == pytest.approx(2 * 8192**2 * 4 * 31 / 32, rel=2e-3)
    assert correlation_bytes(rows, 8192, 2) / gram_bytes(rows, 8192, 5, 2) > 13


@pytest.mark.parametrize("world", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("d", [1, 6, 31, 8192])
def test_features_are_shared_out_evenly(d, world):
    shares = [features_of(d, world, rank) for rank in range(world)]
    assert sum(shares) == d and max(shares) - min(shares) <= 1 and shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("world", [2, 4, 32])
def test_the_smaller_matrix_wins(world, device):
    def choice(n, d):
        return choose_distributed_formulation("auto", (n,) * world, d, 2, device)

    for n in (16, 64, 256):
        assert choice(n, 2 * n * world) == "gram"
        assert choice(n, n * world) == choice(n, n * world // 2) == "correlation"


def test_near_the_border_the_embeddings_on_the_wire_count():
    """Between N / D = border and 1 the Gram form's matrices are smaller, by less than what its embeddings cost."""
    d = 4096
    for world, border in ((2, 0.64), (8, 0.9), (128, 1.0)):
        for rows, expected in ((border - 0.02, "gram"), (border + 0.02, "correlation")):
            each = (int(rows * d) // world,) * world
            assert choose_distributed_formulation("auto", each, d, 4, "cuda") == expected
    assert choose_formulation("auto", d - 1, d) == "gram"


def test_the_busiest_rank_decides():
    """The rank that has most of the rows sends most of the embeddings."""
    assert choose_distributed_formulation("auto", (500, 500, 500, 500), 3157, 4, "cuda") == "gram"
    assert choose_distributed_formulation("auto", (8, 1976, 8, 8), 3157, 4, "cuda") == "correlation"


def test_one_rank_chooses_as_one_process_does():
    for n, d in ((500, 505), (505, 500), (8, 100)):
        assert choose_distributed_formulation("auto", (n,), d, 4, "cpu") == choose_formulation("auto", n, d)


def test_what_was_asked_for_stays():
    assert choose_distributed_formulation("correlation", (4, 4), 1000, 4, "cpu") == "correlation"
    assert choose_distributed_formulation("gram", (40, 40), 10, 4, "cpu") == "gram"
    for requested in ("auto", "gram", "correlation"):
        assert choose_distributed_formulation(requested, (4, 4), 1, 4, "cpu") == "correlation"
