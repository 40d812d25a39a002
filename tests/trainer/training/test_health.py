"""The embeddings' statistics, against their definitions in float64, and the collapse that is seen in them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from bt_kernels import barlow_twins_terms, cross_correlation
from bt_kernels.trainer.training.health import CollapseWatch, EmbeddingStatistics, effective_rank, measure

N, D = 24, 6


def alone(values):
    return values


def two_views(generator, n=N, d=D, noise=0.5, mean=0.0):
    z = torch.randn(n, d, generator=generator)
    return tuple(z + noise * torch.randn(n, d, generator=generator) + mean for _ in range(2))


def squares_off_the_diagonal(z_a, z_b):
    c = cross_correlation(z_a.double(), z_b.double())
    return (c.square().sum() - c.diagonal().square().sum()).item()


def expected(z_a, z_b):
    """Everything but the effective rank, by NumPy."""
    a, b = z_a.double().numpy(), z_b.double().numpy()
    c = cross_correlation(z_a.double(), z_b.double()).numpy()
    off = c[~np.eye(len(c), dtype=bool)]
    return c.diagonal().mean(), np.sqrt(np.mean(off**2)), (a.std(axis=0) + b.std(axis=0)).mean() / 2


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("n, d", [(N, D), (5, 40)])
def test_statistics_are_those_of_the_definitions(generator, n, d, mean):
    z_a, z_b = two_views(generator, n, d, mean=mean)
    found = measure(z_a, z_b, squares_off_the_diagonal(z_a, z_b), alone)
    numbers = (found.mean_correlation, found.off_diagonal_rms, found.embedding_std)
    # Deviations from a mean m, in float64, are right to some eps · m; the summation has n terms.
    assert numbers == pytest.approx(expected(z_a, z_b), rel=1e-12 + 10 * n * max(1, mean) * np.finfo(float).eps)


class Ranks:
    """Sums over ranks whose parts are computed one after the other: each round runs all of them again."""

    def __init__(self, parts):
        self.parts = parts
        self.sums = []

    def measure(self, off_diagonal):
        for round_ in range(3):
            contributions = []
            results = [self._rank(part, off_diagonal, round_, contributions) for part in self.parts]
            if contributions:
                self.sums.append(torch.stack(contributions).sum(dim=0))
        assert len({repr(result) for result in results}) == 1  # NaN is not equal to itself
        return results[0]

    def _rank(self, part, off_diagonal, known, contributions):
        calls = iter(range(3))

        class Waiting(Exception):
            pass

        def total(values):
            number = next(calls)
            if number < known:
                return self.sums[number].clone()
            contributions.append(values)
            raise Waiting

        try:
            return measure(*part, off_diagonal, total)
        except Waiting:
            return None


@pytest.mark.parametrize("sizes", [(24,), (12, 12), (7, 1, 0, 16)])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_ranks_with_rows_of_their_own_measure_the_whole_batch(generator, sizes, mean):
    z_a, z_b = two_views(generator, mean=mean)
    off_diagonal = squares_off_the_diagonal(z_a, z_b)
    parts = list(zip(z_a.split(sizes), z_b.split(sizes), strict=True))
    found = Ranks(parts).measure(off_diagonal)
    whole = measure(z_a, z_b, off_diagonal, alone)
    for name in ("mean_correlation", "off_diagonal_rms", "embedding_std"):
        tolerance = 10 * N * max(1, mean) * np.finfo(float).eps
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=tolerance)
    deviations = torch.stack([z_a, z_b]).double()
    deviations -= deviations.mean(dim=1, keepdim=True)
    ranks = [effective_rank(own).item() for own in deviations.split(sizes, dim=1) if own.shape[1] > 1]
    assert found.effective_rank == pytest.approx(np.mean(ranks), rel=1e-9)


def orthogonal(n, d):
    """(2, n, d) views that are equal, with orthogonal features of mean 0 and variance 1."""
    signs = torch.tensor([[1.0]])
    while len(signs) < n:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    return signs[:, 1 : d + 1].double().expand(2, -1, -1)


@pytest.mark.parametrize("copies", [1, 3])
def test_effective_rank_of_features_that_are_orthogonal_and_of_their_copies(copies):
    # A feature that is there several times adds no dimension; nor does its scale matter.
    views = orthogonal(16, 5).repeat(1, 1, copies) * torch.arange(1, 5 * copies + 1) * 10
    assert effective_rank(views).item() == pytest.approx(5, rel=1e-6)  # beside eps


def test_effective_rank_is_computed_from_the_smaller_matrix(generator):
    tall = torch.randn(2, 8, 5, generator=generator).double()
    wide = torch.randn(2, 8, 50, generator=generator).double()
    for views in (tall, wide):
        rows = views.flatten(end_dim=1)
        rows = rows / (rows.square().mean(dim=0) + 1e-5).sqrt()
        shares = np.linalg.svd(rows.numpy(), compute_uv=False) ** 2
        shares /= shares.sum()
        assert effective_rank(views).item() == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


def test_no_matrix_of_all_pairs_of_features_is_formed(generator):
    d = 100_000  # whose square would be 80 GB
    z_a, z_b = two_views(generator, 4, d)
    assert 2 < measure(z_a, z_b, 1.0, alone).effective_rank < 8


def test_constant_features():
    constant = torch.full((N, D), 3.0)
    found = measure(constant, constant, 0.0, alone)
    assert found == EmbeddingStatistics(0.0, 0.0, 0.0, 1.0)


def test_one_feature_has_nothing_off_the_diagonal(generator):
    z_a, z_b = two_views(generator, d=1)
    assert measure(z_a, z_b, 0.0, alone).off_diagonal_rms == 0


def test_embeddings_that_are_not_finite_give_nan(generator):
    z_a, z_b = two_views(generator)
    z_a[2, 3] = math.inf
    found = measure(z_a, z_b, math.nan, alone)
    assert all(math.isnan(value) for value in vars(found).values())


def test_rank_is_unknown_where_nobody_has_two_rows(generator):
    z_a, z_b = two_views(generator, 2)
    found = Ranks(list(zip(z_a.split(1), z_b.split(1), strict=True))).measure(1.0)
    assert math.isnan(found.effective_rank) and found.embedding_std > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(generator, dtype):
    z_a, z_b = two_views(generator)
    with torch.autocast("cpu", dtype=dtype):
        inside = measure(z_a, z_b, 1.0, alone)
    assert inside == measure(z_a, z_b, 1.0, alone)


def statistics(std=1.0, rank=20.0):
    return EmbeddingStatistics(0.5, 0.5, std, rank)


def watched(history):
    """What a history of measurements ends with: the number of the measurement and the text, or None."""
    watch = CollapseWatch()
    for number, entry in enumerate(history, start=1):
        seen = watch.seen(10 * number, entry)
        if seen is not None:
            return number, seen, watch.healthy_until
    return None


def test_constant_embeddings_are_seen_at_the_third_measurement():
    number, seen, healthy_until = watched([statistics()] * 4 + [statistics(std=1e-5)] * 5)
    assert (number, healthy_until) == (7, 40)
    assert seen == "the embeddings have become constant (mean standard deviation 1.0e-05)"


def test_rank_that_falls_to_one_is_seen_at_the_third_measurement():
    number, seen, _ = watched([statistics(rank=9.0), *[statistics(rank=1.04)] * 3])
    assert number == 4 and seen == "all features of the embeddings have become one (effective rank 1.04)"


@pytest.mark.parametrize(
    "history",
    [
        [statistics(rank=1.01)] * 20,  # a fresh network's, perhaps for long
        [statistics(rank=1.01), statistics(rank=2.0)] * 10,
        [statistics(rank=40.0), *[statistics(rank=1.23)] * 20],  # low, and the features may still improve
        [statistics(), *[statistics(std=1e-6)] * 2] * 5,  # not three on end
        [statistics(), *[statistics(rank=1.01)] * 2] * 5,
        [statistics(std=0.01)] * 10,  # small, and none of the loss's eps
        [statistics(std=1e-5)] * 10,  # timm's cait begins so, and trains
        [statistics(std=math.nan, rank=math.nan)] * 10,
    ],
)
def test_what_is_no_collapse(history):
    assert watched(history) is None


def trained(lambd, steps=240):
    """What a small network's training ends with, measured every 10 steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
        history = []
        for step in range(1, steps + 1):
            x = torch.randn(64, 8)
            z_a, z_b = (network(x + 0.5 * torch.randn(64, 8)) for _ in range(2))
            loss, _, off_diagonal = barlow_twins_terms(z_a, z_b, lambd=lambd)
            if step % 10 == 1:
                history.append(measure(z_a, z_b, off_diagonal.item(), alone))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return watched(history)


def test_training_without_the_redundancy_term_collapses_and_with_it_does_not():
    assert "have become one" in trained(lambd=1e-12)[1]
    assert trained(lambd=0.0051, steps=120) is None


def test_watch_goes_on_from_its_state():
    history = [statistics(), *[statistics(rank=1.0)] * 3]
    watch = CollapseWatch()
    for number, entry in enumerate(history[:-1], start=1):
        assert watch.seen(number, entry) is None
    assert watch.suspicious and watch.healthy_until == 1
    resumed = CollapseWatch()
    resumed.load_state_dict(watch.state_dict())
    assert resumed.seen(4, history[-1]) is not None
