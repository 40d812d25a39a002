"""Whole runs on photographs, by the imagenet preset made small, and what is done with their folders afterwards."""

import json

import pytest
import torch

from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.evaluate.cli import main as evaluate
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.report.__main__ import main as report
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.torchvision_import import import_torchvision
from tests.support.trainer.image_data import needs_webdataset, write_folder, write_shard
from tests.support.trainer.interrupt import stop_after
from tests.support.trainer.run_state import last_state, metrics_without_time, same

pytestmark = pytest.mark.long

PICTURES = ["augmented_views.png", "cross_correlation.png", "embedding.png", "loss_curves.png", "neighbours.png"]
DAMAGE = "it is no image that Pillow knows"
SMALL = [
    "--preset", "imagenet", "--device", "cpu", "--backbone", "resnet18", "--image-size", "16",
    "--projector", "32-32-32", "--batch-size", "8", "--epochs", "2", "--warmup", "1", "--workers", "1",
    "--precision", "float32", "--accumulate", "2", "--knn-every", "1", "--statistics-every", "2",
]  # fmt: skip


@pytest.fixture
def images(tmp_path):
    """Training and validation images of three classes, and one file that is no image."""
    write_folder(tmp_path / "images" / "train", images=6)
    write_folder(tmp_path / "images" / "val", images=4)
    (tmp_path / "images" / "train" / "class1" / "2.png").write_bytes(b"\x89PNG no more")
    return tmp_path / "images"


def test_run_on_an_image_folder_to_its_evaluation(images, tmp_path, monkeypatch, capsys):
    command = [*SMALL, "--data-dir", str(images), "--run-dir"]
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    assert main([*command, str(whole.root), "--tensorboard"]) == 0
    said = capsys.readouterr()
    assert "Nearest-neighbour accuracy" in said.out
    assert said.err.count(f"class1/2.png cannot be read ({DAMAGE})") == 1
    assert whole.unreadable.read_text() == f"class1/2.png\t{DAMAGE}\n"
    lines = metrics_without_time(whole)
    assert [line["epoch"] for line in lines] == [1, 1, 2, 2]
    assert lines[0]["learning_rate"] == 0 and lines[2]["learning_rate"] == 0.2 * 8 / 256
    assert all(line["knn_accuracy"] is not None for line in lines[1::2])
    # 17 of 18 files are images and 16 of them are in an epoch's batches, so every epoch may or may not meet it.
    assert 1 <= lines[-1]["unreadable_images"] <= 2
    summary = json.loads(whole.summary.read_text())
    assert summary["final"]["unreadable_images"] == lines[-1]["unreadable_images"]
    assert set(PICTURES) <= {picture.name for picture in whole.pictures.iterdir()}
    assert list(whole.tensorboard.iterdir())

    with monkeypatch.context():
        stop_after(3, monkeypatch)
        assert main([*command, str(parts.root)]) == INTERRUPTED
        monkeypatch.undo()
    with monkeypatch.context() as patched:
        for drawing in ("draw_curves", "draw_views", "draw_features"):  # once is enough, and slow
            patched.setattr(draw, drawing, lambda *arguments: None)
        assert main([*command, str(parts.root), "--resume", "auto"]) == 0
    assert same(last_state(parts), last_state(whole))
    assert metrics_without_time(parts) == lines
    assert parts.unreadable.read_text() == f"class1/2.png\t{DAMAGE}\n"

    check_export(whole, images)
    (images / "train" / "beside.png").write_bytes((images / "val" / "class0" / "0.png").read_bytes())
    check_evaluation(whole, images, capsys)
    (images / "train" / "beside.png").unlink()
    drawn = tmp_path / "drawn"
    assert report([str(whole.root), "--output", str(drawn)]) == 0
    assert set(PICTURES) <= {picture.name for picture in drawn.iterdir()}


def check_export(folder, images):
    resnet = import_torchvision().models.resnet18()
    weights = torch.load(folder.root / "resnet18.pth", weights_only=True)
    left = resnet.load_state_dict(weights, strict=False)
    assert left.missing_keys == ["fc.weight", "fc.bias"] and not left.unexpected_keys


def check_evaluation(folder, images, capsys):
    for protocol, options in (
        ("knn", []),
        ("linear", ["--epochs", "1", "--batch-size", "8", "--seeds", "2"]),
    ):
        capsys.readouterr()
        assert evaluate([protocol, "--run", str(folder.root), *options, "--workers", "0"]) == 0
        said = capsys.readouterr()
        assert f"passed over in {images / 'train'}: 1 beside the class folders (such as beside.png)\n" in said.err
        assert "18 training images, 1 of them unreadable and left out" in said.out
        assert f"the first is class1/2.png in {images / 'train'} ({DAMAGE})" in said.err
        result = json.loads((folder.root / f"evaluation-{protocol}.json").read_text())
        assert result["unreadable"] == {f"class1/2.png in {images / 'train'}": DAMAGE}


@needs_webdataset
def test_run_on_shards_and_on_synthetic_images(tmp_path):
    for number in range(2):
        write_shard(tmp_path / f"{number}.tar", range(10 * number, 10 * number + 10))
    (tmp_path / "1.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:5000])  # ends early
    data = {
        "webdataset": ["--data-dir", str(tmp_path), "--shards", "{0..1}.tar"],
        "synthetic": ["--augment-on", "device"],
    }
    for name, options in data.items():
        folder = RunFolder(tmp_path / name)
        command = [*SMALL, "--data", name, "--epoch-images", "16", "--run-dir", str(folder.root), *options]
        assert main(command) == 0
        lines = metrics_without_time(folder)
        assert len(lines) == 4 and all(line["knn_accuracy"] is None for line in lines)
        assert (lines[-1]["unreadable_images"] > 0) == (name == "webdataset")
        assert {"cross_correlation.png", "augmented_views.png"} <= {p.name for p in folder.pictures.iterdir()}


def test_a_run_on_a_folder_without_classes(tmp_path, capsys):
    root = write_folder(tmp_path / "images", classes=2) / "class0"
    for name in ("beside.png", "notes.txt", ".hidden.png"):
        (root.parent / name).write_bytes((root / "0.png").read_bytes())
    folder, train = RunFolder(tmp_path / "run"), root.parent / "train"
    command = [
        "--data", "imagefolder", "--data-dir", str(root.parent), "--run-dir", str(folder.root), "--device", "cpu",
        "--backbone", "resnet18", "--image-size", "16", "--projector", "16", "--batch-size", "8", "--epochs", "2",
        "--workers", "0", "--precision", "float32",
    ]  # fmt: skip
    assert main([*command, "--knn-every", "1"]) == 1  # asked for by name
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith(f"error: --data imagefolder needs the folder {train}, with a folder")
    assert main(command) == 0
    said = capsys.readouterr().err
    assert f"9 unlabelled images of {root.parent}, 2 steps of 8 images" in said
    assert f"passed over in {root.parent}: 1 hidden (such as .hidden.png), 1 of other endings (.txt: 1)\n" in said
    assert f"no nearest-neighbour accuracy: there is no folder {train} with labelled images\n" in said
    assert folder.finished and len(metrics_without_time(folder)) == 2


def test_held_out_images_that_do_not_fit_are_refused_before_the_training(images, tmp_path, capsys):
    write_folder(tmp_path / "images" / "val", classes=4)
    command = [*SMALL, "--data-dir", str(images), "--run-dir", str(tmp_path / "run")]
    assert main(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "3 classes and the test images 4 (class3 is in one alone)" in error and "--knn-every 0" in error
    assert not RunFolder(tmp_path / "run").checkpoints.steps()
