from itertools import islice

import numpy as np
import pytest
import torch

from bt_kernels.trainer.augmentation.digits import TwoViews
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.data.digits import ShuffledBatches, load_split
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes

CPU = torch.device("cpu")


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


def test_digits_views_are_those_of_one_generator_for_the_whole_batch():
    config = Config(image_size=8, batch_size=10, seed=3, device="cpu")
    data = open_training_data(config, Processes(), CPU)
    assert (data.images, data.steps_per_epoch, data.description) == (1297, 129, "1297 unlabelled digits")
    images, batches = load_split(8, 3).train_images, ShuffledBatches(1297, 10, 3)
    two_views = TwoViews(torch.Generator().manual_seed(3))
    expected = [two_views(images[batches[step]]) for step in range(3)]
    for (a, b), views in zip(expected, data.views(0), strict=False):
        assert torch.equal(views.a, a) and torch.equal(views.b, b) and views.unreadable == ()
    for rank, own in enumerate((slice(0, 4), slice(4, 7), slice(7, 10))):
        for (a, b), views in zip(
            expected, open_training_data(config, Processes(rank, 3), CPU).views(0), strict=False
        ):
            assert torch.equal(views.a, a[own]) and torch.equal(views.b, b[own])


def test_digits_go_on_from_their_state():
    config = Config(image_size=8, batch_size=10, device="cpu")
    data = open_training_data(config, Processes(), CPU)
    views = data.views(0)
    for _ in range(3):
        next(views)
    state = {name: value.clone() for name, value in data.state_dict().items()}
    expected = [next(views).a for _ in range(2)]
    resumed = open_training_data(config, Processes(), CPU)
    resumed.load_state_dict(state)
    assert all(torch.equal(a, views.a) for a, views in zip(expected, resumed.views(3), strict=False))


def test_synthetic_images_are_drawn_once():
    config = Config(data="synthetic", epoch_images=35, image_size=8, batch_size=8, device="cpu")
    before = torch.get_rng_state()
    data = open_training_data(config, Processes(), CPU)
    assert (data.images, data.steps_per_epoch, data.description) == (35, 4, "35 synthetic images")
    first, second = islice(data.views(0), 2)
    assert first.a.shape == first.b.shape == (8, 3, 8, 8) and first.a.dtype == torch.float32
    assert first.a is second.a and not torch.equal(first.a, first.b)
    assert data.state_dict() == {}
    share = next(open_training_data(config, Processes(rank=2, size=3), CPU).views(0))
    assert share.a.shape == (2, 3, 8, 8)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("data, images", [("digits", 1297), ("synthetic", 30)])
def test_impossible_batches_are_refused(data, images):
    def refusal(batch_size, size=1):
        config = Config(data=data, epoch_images=30, image_size=8, batch_size=batch_size, device="cpu")
        with pytest.raises(TrainerError) as error:
            open_training_data(config, Processes(size=size), CPU)
        return str(error.value)

    assert (
        refusal(images + 1)
        == f"--batch-size {images + 1} is more than the {images} training images; lower --batch-size"
    )
    assert refusal(7, size=4) == (
        "--batch-size 7 is less than 2 images for each of 4 processes, which batch norm needs"
    )
