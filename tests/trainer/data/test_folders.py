"""Folders of images as people have them: what is found, in which order, and what is said of the rest."""

import os

import numpy as np
import pytest
import torch

from bt_kernels.trainer.data import folders, open_labelled, open_training_data
from bt_kernels.trainer.data.folders import find_images, image_endings
from bt_kernels.trainer.data.images import ImageFiles
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.torchvision_import import import_torchvision
from tests.support.trainer.image_data import encoded, photograph_config, write_folder


def write(root, *names, content=None):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(len(name)) if content is None else content)


def found(root):
    names, tops, passed = find_images(str(root))
    return names, tops, str(passed)


def opened(folder, **options):
    return open_training_data(photograph_config(folder, **options), Processes(), torch.device("cpu"))


def test_the_order_is_torchvisions(tmp_path):
    names = ["b", "a", "a-b", "a/x", "a/x-y", "a/x/deep", "a/X", "a b", "n01", "B/x", "B", "ä"]
    for name in names:
        write(tmp_path, f"{name}/1.png", f"{name}/10.PNG", f"{name}/2.JPEG", f"{name}/é.jpg")
    classes = sorted(entry.name for entry in os.scandir(tmp_path))
    numbers = {name: number for number, name in enumerate(classes)}
    folder = import_torchvision().datasets.folder
    expected = folder.make_dataset(str(tmp_path), numbers, folder.IMG_EXTENSIONS)
    assert found(tmp_path) == ([os.path.relpath(path, tmp_path) for path, _ in expected], classes, "")
    images = ImageFiles(tmp_path, 0, labelled=True)
    assert images.labels.tolist() == [label for _, label in expected] and images.classes == len(classes)
    assert images.names() == ImageFiles(tmp_path, 0).names()


def test_images_at_any_depth_with_and_without_a_train_folder(tmp_path):
    write(tmp_path, "1.png", "2.png", "trip/3.png", "trip/day/4.png", "empty/notes.txt")
    assert ImageFiles(tmp_path, 0).names() == ["1.png", "2.png", "trip/3.png", "trip/day/4.png"]
    data = opened(tmp_path)
    assert data.images == 4 and data.description == f"4 unlabelled images of {tmp_path}"
    assert data.notes == [f"passed over in {tmp_path}: 1 of other endings (.txt: 1)"]
    step = next(data.views(0))
    assert step.a.shape == (4, 3, 12, 12) and step.unreadable == ()
    write(tmp_path, "train/5.png", "train/below/6.png", "train/7.png", "train/8.png", "val/9.png")
    data = opened(tmp_path)
    assert data.images == 4 and data.description == f"4 unlabelled images of {tmp_path / 'train'}"


def test_an_empty_class_folder_is_an_error_for_labels_alone(tmp_path):
    write_folder(tmp_path / "train")
    (tmp_path / "train" / "cat").mkdir()
    assert opened(tmp_path).images == 12
    with pytest.raises(TrainerError) as error:
        open_labelled(photograph_config(tmp_path), "train")
    assert str(error.value) == f"the class folder {tmp_path / 'train' / 'cat'} has no images; fill it or remove it"


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    write_folder(tmp_path / "train")
    root = tmp_path / "train"
    write(root, "class0/._0.png", ".DS_Store", ".ipynb_checkpoints/0-checkpoint.png", "class1/.cache/1.png")
    write(root, "__MACOSX/class0/._0.png", "class2/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg")
    images = ImageFiles(root, 0, labelled=True)
    assert len(images) == 12 and images.classes == 3
    assert images.passed_over == f"passed over in {root}: 6 hidden (such as .DS_Store)"
    assert opened(tmp_path).images == 12


def test_files_that_are_not_used_are_counted_with_the_reason(tmp_path):
    write_folder(tmp_path / "train")
    root = tmp_path / "train"
    write(root, "beside.png", "another.jpg")
    write(root, "a.heic", "class0/b.HEIC", "class0/c.gif", "class1/d.xml", "class1/e.json", "f", "class2/g.json")
    others = "7 of other endings (.heic: 2, .json: 2, .gif: 1, 2 others)"
    assert ImageFiles(root, 0).passed_over == f"passed over in {root}: {others}"
    assert opened(tmp_path).images == 14
    labelled = open_labelled(photograph_config(tmp_path), "train")
    assert len(labelled.labels) == 12 and labelled.names == ImageFiles(root, 0, labelled=True).names()
    beside = "2 beside the class folders (such as another.jpg)"
    assert labelled.passed_over == f"passed over in {root}: {beside}, {others}"


def test_links_are_followed_and_no_folder_is_read_twice(tmp_path):
    root = tmp_path / "train"
    write_folder(root)
    write(tmp_path / "elsewhere", "0.png", "below/1.png")
    (root / "class0" / "loop").symlink_to("..")
    (root / "class1" / "self").symlink_to(".")
    (root / "all").symlink_to("class2", target_is_directory=True)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "linked too").symlink_to(tmp_path / "elsewhere" / "below")
    (root / "class0" / "link.png").symlink_to("0.png")
    names, tops, passed = found(root)
    assert len(names) == 12 + 1 + 2 and len(set(names)) == len(names)
    assert "linked/0.png" in names and "linked/below/1.png" in names and "class0/link.png" in names
    assert tops == ["class0", "class1", "class2", "linked"]
    assert passed == "4 folders reached a second time through links (such as all)"
    images = ImageFiles(root, 0, labelled=True)
    assert images.classes == 4 and np.bincount(images.labels).tolist() == [5, 4, 4, 2]


def test_a_link_out_of_the_folder_and_back_does_not_come_back(tmp_path):
    write_folder(tmp_path / "train")
    write(tmp_path, "other/0.png")
    (tmp_path / "train" / "class0" / "up").symlink_to(tmp_path)
    names, _, passed = found(tmp_path / "train")
    assert len(names) == 13 and "class0/up/other/0.png" in names
    assert passed == "1 folders reached a second time through links (such as class0/up/train)"


def test_the_order_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    write_folder(tmp_path / "a", classes=4)
    write(tmp_path, "b/0.png", "b/c/1.png", "z.png")
    for number in range(3):
        (tmp_path / f"link{number}").symlink_to(tmp_path / "b" / "c")
    (tmp_path / "a" / "class0" / "x").symlink_to(tmp_path / "b")
    before, scandir = found(tmp_path), os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self._entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self._entries)

        def __exit__(self, *raised):
            pass

    monkeypatch.setattr(folders.os, "scandir", Reversed)
    assert found(tmp_path) == before


def test_links_that_lead_nowhere_and_pipes_do_no_harm(tmp_path):
    write(tmp_path, *(f"{number}.png" for number in range(5)))
    (tmp_path / "lost.png").symlink_to("nowhere")
    (tmp_path / "round.png").symlink_to("round.png")
    (tmp_path / "round").symlink_to("round")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "pipe2.png").symlink_to("pipe.png")
    data = opened(tmp_path, batch_size=7)
    assert data.images == 7
    assert data.notes == [
        f"passed over in {tmp_path}: 2 pipes, sockets or devices (such as pipe.png), 1 of other endings (none: 1)"
    ]
    reasons = dict(next(data.views(0)).unreadable)
    assert set(reasons) == {"lost.png", "round.png"} and reasons["lost.png"] == "No such file or directory"


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    write_folder(tmp_path)
    scandir = os.scandir

    def refuse(path):
        if path.endswith("class1"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)  # root may read everything
    images = ImageFiles(tmp_path, 0)
    assert len(images) == 8
    said = "1 folders that cannot be read (such as class1: Permission denied)"
    assert images.passed_over == f"passed over in {tmp_path}: {said}"
    with pytest.raises(TrainerError, match="^the class folder .*class1 has no images"):
        ImageFiles(tmp_path, 0, labelled=True)


def test_names_that_are_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\n.png"
    with open(name, "wb") as file:
        file.write(encoded(3))
    write(tmp_path, "a\nb.txt", "c.d\ne")
    images = ImageFiles(tmp_path, 0)
    assert images.names() == ["\udcff\n.png"] and images.read(0).mode == "RGB"
    assert "\n" not in images.passed_over


def test_every_ending_is_found_in_capitals_too(tmp_path):
    endings = image_endings()
    assert ".jpg" in endings and ".tiff" in endings and ".webp" in endings
    write(tmp_path, *(f"{number}{ending.upper()}" for number, ending in enumerate(endings)))
    assert len(found(tmp_path)[0]) == len(endings)
