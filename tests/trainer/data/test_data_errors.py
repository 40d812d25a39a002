"""A store of images that fails in the middle of a run: no step is lost, and it is one sentence."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import dataloader

from bt_kernels.trainer.augmentation.photographs import PhotographViews
from bt_kernels.trainer.cli import main
from bt_kernels.trainer.data import images as image_files
from bt_kernels.trainer.data.decoding import UnreadableImage
from bt_kernels.trainer.data.loader import Sample, views_of
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.training.pretraining import Pretraining
from tests.support.trainer.image_data import photograph_config, write_folder
from tests.support.trainer.run_state import last_state, metrics_without_time, same


@pytest.fixture
def config(tmp_path):
    """A run of 9 steps, 3 an epoch."""
    write_folder(tmp_path / "images" / "train")
    write_folder(tmp_path / "images" / "val")
    return dataclasses.replace(
        photograph_config(tmp_path / "images"),
        run_dir=str(tmp_path / "run"),
        backbone="resnet18",
        projector="16",
        epochs=3,
        checkpoint_every=2,
        knn_every=0,
    )


@pytest.fixture
def folder(config):
    return RunFolder(Path(config.run_dir))


@pytest.fixture
def store(monkeypatch):
    """store(n): after n images every read fails, and until then none; store(None): the store is back."""
    read = image_files.ImageFiles.read

    def fail_after(count):
        left = itertools.count(1)

        def failing(self, index):
            if count is not None and next(left) > count:
                raise UnreadableImage(self.name(index), "Stale file handle")
            return read(self, index)

        monkeypatch.setattr(image_files.ImageFiles, "read", failing)

    return fail_after


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    for drawing in ("draw_curves", "draw_views", "draw_features"):
        monkeypatch.setattr(draw, drawing, lambda *arguments: None)


def ending(said):
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in said.err
    return errors[0]


@pytest.mark.long
def test_the_steps_done_are_saved_and_resuming_gives_the_run_that_never_failed(
    config, folder, store, arguments, capsys
):
    whole = RunFolder(folder.root.with_name("whole"))
    assert main(arguments(dataclasses.replace(config, run_dir=str(whole.root)))) == 0
    store(4 * 4 + 2)  # in the middle of the fifth step's four images
    assert main(arguments(config)) == 1
    sentence = ending(capsys.readouterr())
    assert "none of the 4 images of a batch can be read" in sentence and "(Stale file handle)" in sentence
    assert sentence.endswith("; the checkpoint of step 5 is saved, --resume goes on from it")
    assert folder.checkpoints.steps() == [5]
    assert [line["step"] for line in metrics_without_time(folder)] == [1, 2, 3, 4, 5]
    lines = folder.unreadable.read_text().splitlines()
    assert len(lines) == 2 and all(line.endswith("\tStale file handle") for line in lines)

    store(0)  # it has not come back
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert ending(capsys.readouterr()).endswith("; the checkpoint of step 5 is saved, --resume goes on from it")
    store(None)
    assert main(["--resume", "--run-dir", str(folder.root)]) == 0
    metrics = metrics_without_time(folder)
    assert [line["step"] for line in metrics] == list(range(1, 10))
    assert [line["loss"] for line in metrics[:4]] == [line["loss"] for line in metrics_without_time(whole)[:4]]
    assert metrics[-1]["unreadable_images"] == 2
    assert json.loads(folder.summary.read_text())["final"]["unreadable_images"] == 2


@pytest.mark.long
def test_a_failure_between_batches_leaves_the_run_as_if_it_had_not_been(config, folder, store, arguments, capsys):
    whole = RunFolder(folder.root.with_name("whole"))
    assert main(arguments(dataclasses.replace(config, run_dir=str(whole.root)))) == 0
    store(4 * 4)
    assert main(arguments(config)) == 1
    assert folder.checkpoints.steps() == [4]
    store(None)
    assert main(["--resume", "--run-dir", str(folder.root)]) == 0
    assert same(last_state(folder), last_state(whole))
    assert metrics_without_time(folder) == metrics_without_time(whole)


def test_nothing_is_saved_when_nothing_was_done(config, folder, store, arguments, capsys):
    store(0)
    assert main(arguments(config)) == 1
    sentence = ending(capsys.readouterr())
    assert sentence.endswith("check --data-dir") and folder.checkpoints.steps() == []


def test_weights_that_are_not_finite_are_not_saved(config, folder, store, arguments, capsys, monkeypatch):
    train_step = Pretraining.train_step

    def spoiled(state, views):
        metrics = train_step(state, views)
        with torch.no_grad():
            next(state.network.parameters()).fill_(torch.nan)
        return metrics

    monkeypatch.setattr(Pretraining, "train_step", spoiled)
    store(4)
    assert main(arguments(config)) == 1
    sentence = ending(capsys.readouterr())
    assert sentence.endswith("; the checkpoint of step 1 is not saved: weights are not finite after step 1")
    assert folder.checkpoints.steps() == []


def test_a_dead_worker_in_the_middle_of_a_run_loses_no_step(config, folder, arguments, capsys, monkeypatch):
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    train_step, before = Pretraining.train_step, multiprocessing.active_children()

    def killing(state, views):
        if state.step == 1:
            for child in multiprocessing.active_children():
                if child not in before:
                    os.kill(child.pid, signal.SIGKILL)
                    child.join()
        return train_step(state, views)

    monkeypatch.setattr(Pretraining, "train_step", killing)
    assert main(arguments(dataclasses.replace(config, workers=2))) == 1
    sentence = ending(capsys.readouterr())
    assert sentence.startswith("error: a process that reads images has died, ")
    (step,) = folder.checkpoints.steps()
    assert 2 <= step < 9 and f"; the checkpoint of step {step} is saved, --resume" in sentence


@pytest.mark.long
def test_held_out_images_that_fail_cost_no_step_and_those_left_out_are_said(config, folder, arguments, capsys):
    config = dataclasses.replace(config, knn_every=1)
    held_out = Path(config.data_dir) / "val"
    (held_out / "class0" / "0.png").write_bytes(b"")
    assert main([*arguments(config), "--epochs", "1"]) == 0
    said = capsys.readouterr().err
    name = f"class0/0.png in {held_out}"
    left_out = f"leave out 1 images that cannot be read, the first is {name} (it is empty)"
    assert said.count(f"warning: the nearest neighbours {left_out}\n") == 1

    other = RunFolder(folder.root.with_name("failing"))
    failing = dataclasses.replace(config, run_dir=str(other.root))
    for file in held_out.glob("*/*"):
        file.write_bytes(b"")
    assert main(arguments(failing)) == 1
    sentence = ending(capsys.readouterr())
    assert f"none of 12 images can be read for the nearest neighbours, the first is {name}" in sentence
    assert sentence.endswith("; the checkpoint of step 3 is saved, --resume goes on from it")
    assert other.checkpoints.steps() == [3]
    write_folder(held_out)
    assert main(["--resume", "--run-dir", failing.run_dir]) == 0
    measured = [line["knn_accuracy"] is not None for line in metrics_without_time(other)]
    assert measured == [step % 3 == 0 for step in range(1, 10)]


def test_the_replacement_is_not_read_again(config):
    """Every image is read once; an unreadable one gets the one before it, or the first one that can be read."""
    images = image_files.ImageFiles(Path(config.data_dir) / "train", 0)
    two_views, reads = PhotographViews(config, 12), []

    def sample(row, good):
        def read():
            reads.append(row)
            if not good:
                raise UnreadableImage(f"{row}", "gone")
            return images.read(row)

        return Sample(f"{row}", (0, 0, row), read)

    batch = views_of([sample(row, good) for row, good in enumerate([0, 0, 1, 0, 1, 1, 0])], two_views)
    assert reads == list(range(7))
    assert batch.unreadable == tuple((f"{row}", "gone") for row in (0, 1, 3, 6))
    for row, source in enumerate([2, 2, 2, 2, 4, 5, 5]):
        a, b = two_views(images.read(source), (0, 0, row))
        assert torch.equal(batch.a[row], a) and torch.equal(batch.b[row], b)
