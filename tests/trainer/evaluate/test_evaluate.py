import copy

import numpy as np
import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.evaluate.few_labels import (
    LABELS_PER_CLASS,
    centre_and_normalise,
    draw_labelled,
    frozen_features,
    label_efficiency,
)
from bt_kernels.trainer.model.network import build_network

LABELS = np.repeat(np.arange(10), 40)
TEST_LABELS = np.tile(np.arange(10), 30)


def test_perfect_features_give_full_accuracy():
    results = label_efficiency(np.eye(10)[LABELS], LABELS, np.eye(10)[TEST_LABELS], TEST_LABELS, draws=3, seed=0)
    assert list(results) == ["1", "2", "5", "10", "all"]
    assert all(accuracy.mean == 1 and accuracy.std == 0 for accuracy in results.values())
    assert [accuracy.draws for accuracy in results.values()] == [3, 3, 3, 3, 1]


def test_shuffled_features_give_chance():
    shuffled = np.random.default_rng(0).permutation(LABELS)
    shuffled_test = np.random.default_rng(1).permutation(TEST_LABELS)
    results = label_efficiency(
        np.eye(10)[shuffled], LABELS, np.eye(10)[shuffled_test], TEST_LABELS, draws=8, seed=0
    )
    assert all(0.03 < accuracy.mean < 0.2 for accuracy in results.values())
    assert results["1"].std > 0


@pytest.mark.parametrize("per_class", LABELS_PER_CLASS)
def test_draws_are_balanced_distinct_and_repeatable(per_class):
    drawn = draw_labelled(LABELS, per_class, draw=0, seed=1)
    assert len(np.unique(drawn)) == 10 * per_class
    assert np.all(np.bincount(LABELS[drawn]) == per_class)
    assert np.array_equal(drawn, draw_labelled(LABELS, per_class, draw=0, seed=1))
    assert not np.array_equal(drawn, draw_labelled(LABELS, per_class, draw=1, seed=1))
    assert not np.array_equal(drawn, draw_labelled(LABELS, per_class, draw=0, seed=2))


def test_draw_of_more_images_than_a_class_has_is_refused():
    with pytest.raises(ValueError):
        draw_labelled(LABELS, 41, draw=0, seed=0)


def test_normalisation_uses_the_training_mean_only():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 1, (50, 4)), rng.normal(5, 2, (20, 4))
    centred, centred_test = centre_and_normalise(train, test)
    assert np.allclose(np.linalg.norm(centred, axis=1), 1) and np.allclose(np.linalg.norm(centred_test, axis=1), 1)
    expected = test[0] - train.mean(axis=0)
    assert np.allclose(centred_test[0], expected / np.linalg.norm(expected))


def test_features_use_calibrated_statistics_and_leave_the_network():
    network = build_network(Config(backbone="resnet18", projector="8"))
    before = copy.deepcopy(network.state_dict())
    images = torch.rand(40, 1, 8, 8)
    features = frozen_features(network, images, calibration=images)
    assert features.shape == (40, 512) and features.dtype == np.float32
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    # With one calibration batch the statistics are the batch's own, up to the variance's N / (N - 1).
    expected = network.train().features(images).detach().numpy()
    assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.99
    alone = frozen_features(network, images[:1], calibration=images)
    np.testing.assert_allclose(alone, features[:1], rtol=1e-3, atol=1e-4)
