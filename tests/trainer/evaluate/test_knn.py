import math

import numpy as np
import pytest
import torch

from bt_kernels.trainer.evaluate import knn
from bt_kernels.trainer.evaluate.accuracy import ranks, top_accuracy
from bt_kernels.trainer.evaluate.knn import knn_accuracy, nearest, usual_neighbours

CLASSES = 12


@pytest.fixture
def features(generator):
    """Training and test features that tell the classes apart, but not always."""
    centres = torch.randn(CLASSES, 16, generator=generator)
    train_labels = torch.randint(CLASSES, (300,), generator=generator)
    test_labels = torch.randint(CLASSES, (70,), generator=generator)

    def draw(labels):
        return centres[labels] + 1.8 * torch.randn(len(labels), 16, generator=generator)

    return draw(train_labels), train_labels, draw(test_labels), test_labels


def by_a_loop(train, train_labels, test, test_labels, k, temperature, classes):
    """The definition, one image after the other, in float64."""
    train, test = train.double().numpy(), test.double().numpy()
    train_labels, test_labels = train_labels.numpy(), test_labels.numpy()
    first, firsts = 0, 0
    for row, label in zip(test, test_labels, strict=True):
        cosines = [float(row @ other) / (np.linalg.norm(row) * np.linalg.norm(other)) for other in train]
        votes = dict.fromkeys(range(classes), 0.0)
        for index in sorted(range(len(train)), key=lambda i: -cosines[i])[:k]:
            votes[int(train_labels[index])] += math.exp(cosines[index] / temperature)
        order = [c for c in sorted(range(classes), key=lambda c: -votes[c]) if votes[c] > 0]
        first += order[0] == label
        firsts += label in order[:5]
    return first / len(test), firsts / len(test)


@pytest.mark.parametrize("k", [1, 3, 20, 300])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_a_loop_in_float64(features, k, temperature):
    expected = by_a_loop(*features, k, temperature, CLASSES)
    assert knn_accuracy(*features, k, temperature, CLASSES) == pytest.approx(expected, abs=1e-12)
    assert 0.2 < expected[0] < 0.95  # so that a wrong vote can be seen


def test_parts_of_the_similarities_change_nothing(features, monkeypatch):
    whole = knn_accuracy(*features, 40, 0.07, CLASSES)
    monkeypatch.setattr(knn, "_QUERIES", 13)
    monkeypatch.setattr(knn, "_KEYS", 29)
    assert knn_accuracy(*features, 40, 0.07, CLASSES) == whole


def test_nearest_over_parts_is_the_sorted_product(monkeypatch, generator):
    queries, keys = torch.randn(5, 8, generator=generator), torch.randn(50, 8, generator=generator)
    monkeypatch.setattr(knn, "_QUERIES", 2)
    monkeypatch.setattr(knn, "_KEYS", 7)
    similarities, indices = nearest(queries, keys, 20)
    exact = torch.cosine_similarity(queries.double()[:, None], keys.double(), dim=2)
    values, order = exact.sort(dim=1, descending=True)
    rounding = 16 * torch.finfo(torch.float32).eps  # 8 products and sums, and the norms, of numbers below 1
    assert (similarities - values[:, :20]).abs().max() < rounding < (values[:, :-1] - values[:, 1:]).min()
    assert torch.equal(indices, order[:, :20])


def test_a_small_temperature_does_not_overflow(features):
    one = knn_accuracy(*features, 1, 0.07, CLASSES)
    assert knn_accuracy(*features, 50, 1e-5, CLASSES)[0] == one[0]  # the nearest one alone counts


def test_classes_without_a_vote_are_no_guess():
    train, labels = torch.eye(6), torch.arange(6)
    test, test_labels = torch.eye(6)[:1], torch.tensor([3])
    assert knn_accuracy(train, labels, test, test_labels, 1, 0.07, 6) == (0.0, 0.0)


def test_features_that_are_not_finite_are_never_right():
    train, labels = torch.full((6, 4), torch.nan), torch.arange(6)
    assert knn_accuracy(train, labels, train, labels, 3, 0.07, 6) == (0.0, 0.0)


@pytest.mark.parametrize("k", [0, 301])
def test_more_neighbours_than_images_are_refused(features, k):
    with pytest.raises(ValueError, match="neighbours of 300 images"):
        knn_accuracy(*features, k, 0.07, CLASSES)


@pytest.mark.parametrize(
    ("images", "classes", "neighbours"), [(1_281_167, 1000, 200), (1297, 10, 129), (3, 10, 1), (5, 0, 5)]
)
def test_usual_neighbours_are_no_more_than_a_class_has(images, classes, neighbours):
    assert usual_neighbours(images, classes) == neighbours


def test_ranks_count_the_classes_before_the_right_one():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3], [torch.nan, 1.0, 2.0], [1.0, torch.nan, 2.0]])
    assert ranks(scores, torch.tensor([2, 1, 0, 0])).tolist() == [1, 1, 3, 1]


def test_top_accuracy_counts_the_first_and_the_first_five():
    accuracy = top_accuracy(torch.tensor([0, 1, 4, 5]))
    assert (accuracy.top1, accuracy.top5) == (0.25, 0.75)
