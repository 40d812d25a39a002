import numpy as np
import torch

from bt_kernels.trainer.data import ShuffledBatches, load_split


def test_split_covers_the_digits_once_and_is_stratified():
    digits = load_split(image_size=16, seed=3)
    assert digits.train_images.shape == (1297, 1, 16, 16)
    assert digits.test_images.shape == (500, 1, 16, 16)
    everything = np.concatenate([digits.train_indices, digits.test_indices])
    assert np.array_equal(np.sort(everything), np.arange(1797))
    share = np.bincount(digits.train_labels) / np.bincount(
        np.concatenate([digits.train_labels, digits.test_labels])
    )
    assert np.all(np.abs(share - 1297 / 1797) < 0.01)
    for images in (digits.train_images, digits.test_images):
        assert images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.2


def test_split_depends_on_the_seed_only():
    first, again, other = load_split(8, 0), load_split(8, 0), load_split(8, 1)
    assert torch.equal(first.train_images, again.train_images)
    assert np.array_equal(first.test_labels, again.test_labels)
    assert not np.array_equal(first.test_indices, other.test_indices)


def test_an_epoch_visits_images_once_in_a_new_order_and_drops_the_incomplete_batch():
    batches = ShuffledBatches(images=50, batch_size=8, seed=0)
    assert batches.steps_per_epoch == 6
    first, second = (torch.cat([batches[6 * epoch + step] for step in range(6)]) for epoch in (0, 1))
    assert len(first.unique()) == len(second.unique()) == 48
    assert not torch.equal(first, second)


def test_position_is_the_step_alone():
    visited = ShuffledBatches(images=50, batch_size=8, seed=5)
    for step in range(9):
        last = visited[step]
    assert torch.equal(ShuffledBatches(images=50, batch_size=8, seed=5)[8], last)
    assert not torch.equal(ShuffledBatches(images=50, batch_size=8, seed=6)[8], last)
