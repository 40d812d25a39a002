"""CIFAR and STL-10, from tiny copies in the data sets' own formats."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from bt_kernels.trainer.augmentation.photographs import normalize, to_float
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import open_labelled, open_training_data
from bt_kernels.trainer.data.images import open_images
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.torchvision_import import import_torchvision

datasets = import_torchvision().datasets

SIDES = {"cifar10": 32, "cifar100": 32, "stl10": 96}


def published(monkeypatch, kind, root, *lists):
    """Make the checksums those of the files in ``root``, and the address one that gives nothing."""
    for name in lists:
        sums = [[file, hashlib.md5((root / file).read_bytes()).hexdigest()] for file, _ in getattr(kind, name)]
        monkeypatch.setattr(kind, name, sums)
    monkeypatch.setattr(kind, "url", "file:///nowhere/archive.tar.gz")


def write_cifar(folder, monkeypatch, kind, label_key, meta):
    root = folder / kind.base_folder
    root.mkdir()
    rng = np.random.default_rng(0)
    pixels = []
    for file in [file for file, _ in kind.train_list + kind.test_list]:
        data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        pixels.append(data.reshape(4, 3, 32, 32))
        with open(root / file, "wb") as target:
            pickle.dump({"data": data, label_key: [len(pixels), 0, 1, 2]}, target)
    with open(root / kind.meta["filename"], "wb") as target:
        pickle.dump({kind.meta["key"]: [str(number) for number in range(meta)]}, target)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    published(monkeypatch, kind, root, "train_list", "test_list")
    return np.concatenate(pixels[:-1]), pixels[-1]


def write_stl10(folder, monkeypatch):
    root = folder / "stl10_binary"
    root.mkdir()
    rng = np.random.default_rng(0)
    parts = {name: rng.integers(0, 256, (4, 3, 96, 96), dtype=np.uint8) for name in ("train", "test", "unlabeled")}
    for name, pixels in parts.items():
        pixels.transpose(0, 1, 3, 2).tofile(root / f"{name}_X.bin")  # stored by columns
        if name != "unlabeled":
            np.array([1, 10, 3, 4], np.uint8).tofile(root / f"{name}_y.bin")
    (root / "class_names.txt").write_text("\n".join("abcdefghij"))
    (root / "fold_indices.txt").write_text("0 1")
    published(monkeypatch, datasets.STL10, root, "train_list", "test_list")
    return np.concatenate([parts["train"], parts["unlabeled"]]), parts["test"]


@pytest.fixture(params=["cifar10", "cifar100", "stl10"])
def stored(request, tmp_path, monkeypatch):
    """The data set's name, its folder, its images for pre-training, and those held out; (N, 3, H, W) uint8."""
    if request.param == "cifar10":
        return "cifar10", tmp_path, *write_cifar(tmp_path, monkeypatch, datasets.CIFAR10, "labels", 10)
    if request.param == "cifar100":
        return "cifar100", tmp_path, *write_cifar(tmp_path, monkeypatch, datasets.CIFAR100, "fine_labels", 100)
    return "stl10", tmp_path, *write_stl10(tmp_path, monkeypatch)


def config(data, folder, **options):
    return Config(**{"data": data, "data_dir": str(folder), "batch_size": 4, "image_size": SIDES[data], **options})


def test_pre_training_sees_all_images_but_those_held_out(stored):
    data, folder, pretrain, _ = stored
    images = open_images(config(data, folder), "pretrain")
    assert len(images) == len(pretrain)
    for index in (0, len(pretrain) - 1):
        assert np.array_equal(np.asarray(images.read(index)), pretrain[index].transpose(1, 2, 0))
    training = open_training_data(config(data, folder, image_size=16), Processes(), torch.device("cpu"))
    assert training.images == len(pretrain) and training.steps_per_epoch == len(pretrain) // 4
    assert next(training.views(0)).a.shape == (4, 3, 16, 16)


def test_evaluation_sees_whole_images_and_their_labels(stored):
    data, folder, _, held_out = stored
    test = open_labelled(config(data, folder), "test")
    assert test.names is None and test.classes == (100 if data == "cifar100" else 10)
    assert test.labels.tolist() == {"cifar10": [6, 0, 1, 2], "cifar100": [2, 0, 1, 2], "stl10": [0, 9, 2, 3]}[data]
    ((images, labels),) = test.batches(np.arange(4), 4, augment=False)
    assert torch.equal(images, normalize(to_float(torch.from_numpy(held_out))))
    assert labels.tolist() == test.labels.tolist()
    train = open_labelled(config(data, folder), "train")
    assert len(train.labels) == (20 if data == "cifar10" else 4)


TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "stl10": "STL-10"}


def refusal(data, folder):
    with pytest.raises(TrainerError) as error:
        open_training_data(config(data, folder), Processes(), torch.device("cpu"))
    start = f"{TITLES[data]} is not complete in --data-dir {folder} and could not be downloaded ("
    assert str(error.value).startswith(start) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [datasets.CIFAR10, datasets.CIFAR100, datasets.STL10])
def test_what_cannot_be_downloaded_is_an_error(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(kind, "url", "file:///nowhere/archive.tar.gz")
    refusal(kind.__name__.lower(), tmp_path / "data")


def test_a_damaged_copy_is_an_error(stored):
    data, folder, *_ = stored
    (file,) = folder.glob({"cifar10": "*/data_batch_1", "cifar100": "*/train", "stl10": "*/train_X.bin"}[data])
    file.write_bytes(file.read_bytes()[:-5000])
    refusal(data, folder)
