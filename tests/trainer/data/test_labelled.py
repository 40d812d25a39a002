import numpy as np
import pytest
import torch

from bt_kernels.trainer.augmentation.photographs import LabelledView, normalize, to_float
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import open_labelled
from bt_kernels.trainer.data.digits import load_split
from bt_kernels.trainer.data.images import ImageFiles
from bt_kernels.trainer.errors import TrainerError
from tests.support.trainer.image_data import photograph_config, write_folder


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "train", classes=3, images=4)
    write_folder(tmp_path / "val", classes=3, images=2)
    return tmp_path


def taken(labelled, indices, batch_size=4, **options):
    images, labels = zip(*labelled.batches(indices, batch_size, **{"augment": False, **options}), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_parts_of_a_folder(folder):
    train, test = (open_labelled(photograph_config(folder), part) for part in ("train", "test"))
    assert (len(train.labels), len(test.labels), train.classes) == (12, 6, 3)
    assert test.labels.dtype == np.int64 and test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.names == [f"class{label}/{number}.png" for label in range(3) for number in range(2)]


def test_the_central_crop_in_the_order_asked_for(folder):
    test = open_labelled(photograph_config(folder), "test")
    images, labels = taken(test, [5, 0, 3])
    assert images.shape == (3, 3, 12, 12) and images.dtype == torch.float32 and labels.tolist() == [2, 0, 1]
    files, view = ImageFiles(folder / "val", 0), LabelledView(12, 256 / 224)
    expected = torch.stack([view(files.read(index), None) for index in (5, 0, 3)])
    assert torch.equal(images, normalize(to_float(expected)))


@pytest.mark.parametrize("augment", [False, True])
def test_workers_and_batches_change_nothing(folder, augment):
    before = torch.get_rng_state()
    images, labels = taken(open_labelled(photograph_config(folder), "train"), np.arange(12), augment=augment)
    parallel = open_labelled(photograph_config(folder, workers=2), "train")
    again, again_labels = taken(parallel, np.arange(12)[::-1], 5, augment=augment)
    assert torch.equal(again, images.flip(0)) and torch.equal(again_labels, labels.flip(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_views_depend_on_seed_epoch_and_image(folder):
    train = open_labelled(photograph_config(folder), "train")
    views = [taken(train, [3, 3], augment=True, epoch=epoch)[0] for epoch in range(2)]
    assert torch.equal(views[0][0], views[0][1])
    assert not torch.equal(views[0], views[1])
    file = folder / "train" / "class0" / "3.png"
    (folder / "train" / "class2" / "0.png").write_bytes(file.read_bytes())
    same_pixels, _ = taken(train, [3, 8], augment=True)
    assert not torch.equal(same_pixels[0], same_pixels[1])
    other = open_labelled(photograph_config(folder, seed=1), "train")
    assert not torch.equal(taken(other, [3], augment=True)[0], views[0][:1])


def test_an_incomplete_batch_is_kept(folder):
    train = open_labelled(photograph_config(folder), "train")
    assert [len(labels) for _, labels in train.batches(range(10), 4, augment=False)] == [4, 4, 2]
    assert list(train.batches([], 4, augment=False)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_an_error_with_its_name(folder, workers):
    (folder / "val" / "class1" / "0.png").write_bytes(b"no image")
    test = open_labelled(photograph_config(folder, workers=workers), "test")
    with pytest.raises(TrainerError) as error:
        taken(test, np.arange(6))
    assert str(error.value) == (
        f"cannot read class1/0.png in {folder / 'val'} (it is no image that Pillow knows); replace the file, or "
        "remove it"
    )


def test_a_folder_without_held_out_images_is_an_error(tmp_path):
    write_folder(tmp_path / "train")
    with pytest.raises(TrainerError, match=f"needs the folder {tmp_path / 'val'}"):
        open_labelled(photograph_config(tmp_path), "test")


def test_digits_are_the_splits_parts_as_they_are():
    config = Config(image_size=8, seed=3)
    split = load_split(8, 3)
    for part, images, labels in (
        ("train", split.train_images, split.train_labels),
        ("test", split.test_images, split.test_labels),
    ):
        labelled = open_labelled(config, part)
        assert labelled.classes == 10 and labelled.names is None
        assert np.array_equal(labelled.labels, labels)
        got, got_labels = taken(labelled, [7, 2, 11], 2, augment=part == "train")
        assert torch.equal(got, images[[7, 2, 11]]) and got_labels.tolist() == labels[[7, 2, 11]].tolist()


@pytest.mark.parametrize("data", ["webdataset", "synthetic"])
def test_data_without_labels_is_for_pre_training_only(tmp_path, data):
    config = photograph_config("" if data == "synthetic" else tmp_path, data=data, shards="a.tar", epoch_images=8)
    with pytest.raises(TrainerError, match=f"^--data {data} is for pre-training only; [^\n]*$"):
        open_labelled(config, "test")
