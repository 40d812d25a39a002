from types import SimpleNamespace

import numpy as np
import pytest

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.labels import draw_labels, listed_labels

COUNTS = (200, 100, 40)


def images_of(counts, names=True):
    """Images of as many classes as there are counts, in the order of an image folder."""
    labels = np.repeat(np.arange(len(counts)), counts)
    files = [f"class_{label}/{label}_{index}.jpg" for index, label in enumerate(labels)]
    return SimpleNamespace(labels=labels, classes=len(counts), names=files if names else None)


@pytest.mark.parametrize(("percent", "expected"), [(1, [2, 1, 1]), (10, [20, 10, 4]), (100, list(COUNTS))])
def test_draws_a_share_of_every_class(percent, expected):
    images = images_of(COUNTS)
    drawn = draw_labels(images, percent, seed=3)
    assert np.bincount(images.labels[drawn]).tolist() == expected
    assert np.all(np.diff(drawn) > 0)
    assert np.array_equal(drawn, draw_labels(images, percent, seed=3))
    if percent < 100:
        assert not np.array_equal(drawn, draw_labels(images, percent, seed=4))


def test_a_class_without_images_is_said():
    with pytest.raises(TrainerError, match="the training images hold no image of class 1; add"):
        draw_labels(images_of((5, 0, 4), names=False), 10, seed=0)


def write(tmp_path, *lines):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_list_names_files_or_paths(tmp_path):
    images = images_of((3, 2))
    path = write(tmp_path, "1_4.jpg", "", "class_0/0_2.jpg", "  0_0.jpg  ", "1_4.jpg")
    assert listed_labels(images, path).tolist() == [0, 2, 4]


def test_files_of_the_same_name_need_their_folder(tmp_path):
    images = images_of((1, 1))
    images.names = ["cat/1.jpg", "dog/1.jpg"]
    assert listed_labels(images, write(tmp_path, "cat/1.jpg", "dog/1.jpg")).tolist() == [0, 1]
    with pytest.raises(TrainerError, match="names 1.jpg, which 2 images are called; add the folder"):
        listed_labels(images, write(tmp_path, "1.jpg"))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "names no image; write one image's name a line"),
        (["", " "], "names no image"),
        (["0_0.jpg", "9_9.jpg"], "names 9_9.jpg, which is not among the training images"),
        (["0_0.jpg"], "names no image of class_1 and of 1 other classes; add at least one of each"),
        (["0_0.jpg", "2_3.jpg"], "names no image of class_1; add at least one of each"),
    ],
)
def test_a_list_that_cannot_be_used_is_said(lines, sentence, tmp_path):
    with pytest.raises(TrainerError, match=f"--label-list .*list.txt {sentence}"):
        listed_labels(images_of((2, 1, 2)), write(tmp_path, *lines))


def test_a_list_that_cannot_be_read_is_said(tmp_path):
    images = images_of((2, 1))
    with pytest.raises(TrainerError, match="cannot read --label-list .*missing.txt: No such file"):
        listed_labels(images, tmp_path / "missing.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainerError, match="list.txt is no text file"):
        listed_labels(images, tmp_path / "list.txt")


def test_images_without_files_cannot_be_listed(tmp_path):
    with pytest.raises(TrainerError, match="--label-list needs images that are files; use --labels-percent"):
        listed_labels(images_of((2, 1), names=False), write(tmp_path, "0_0.jpg"))
