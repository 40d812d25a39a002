"""Runs whose data change between two of their parts: refused, or gone on with in the same epoch."""

import json
import shutil

import pytest
import torch

from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.config.presets import saved_config
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.training.resume import carried_position, resume
from tests.support.trainer.image_data import needs_webdataset, photograph_config, write_folder, write_shard
from tests.support.trainer.interrupt import stop_after
from tests.support.trainer.run_state import last_state, metrics_without_time

pytestmark = pytest.mark.long

OPTIONS = [
    "--device", "cpu", "--backbone", "resnet18", "--image-size", "12", "--projector", "16-16", "--batch-size", "8",
    "--knn-every", "0", "--precision", "float32", "--workers", "0",
]  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains on the images, up to a step; returns the command's exit status."""

    def command(*options, until):
        with monkeypatch.context() as patched:
            stop_after(until, patched)
            return main([*OPTIONS, "--run-dir", str(tmp_path / "run"), *options])

    return command


def images(folder):
    return ["--data", "imagefolder", "--data-dir", str(folder)]


def check(tmp_path, capsys, sentence, epochs, before, after, position):
    """What the run says and records after it went on: ``before`` and ``after`` are the steps of both parts."""
    folder = RunFolder(tmp_path / "run")
    said = capsys.readouterr().err
    assert sentence in said and "warning" not in said
    lines = metrics_without_time(folder)
    assert [line["step"] for line in lines] == list(range(1, after + 1))
    assert [line["epoch"] for line in lines[before - 1 : before + 1]] == epochs
    state = last_state(folder)
    assert (state["step"], state["position"]) == (after, position + after - before)
    assert folder.checkpoints.steps() == [before, after]
    return lines, said


def test_changed_data_are_allowed_to_a_run_that_goes_on_alone(tmp_path, run, capsys):
    assert run("--allow-changed-data", until=1) == 1
    assert "add --resume" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_images_that_are_added_are_noticed_and_the_epoch_stays(tmp_path, run, capsys):
    data = tmp_path / "data"
    write_folder(data / "train", images=16)
    assert run(*images(data), "--epochs", "12", until=15) == INTERRUPTED  # of 72
    write_folder(data / "train", images=24)
    capsys.readouterr()
    assert run(*images(data), "--resume", until=16) == 1
    assert capsys.readouterr().err == (
        "error: the data are not those of the checkpoint: 72 images, not 48; bring those back, or go on with "
        "these by --allow-changed-data\n"
    )
    assert run(*images(data), "--resume", "--allow-changed-data", until=17) == INTERRUPTED
    sentence = (
        "the data have changed since the checkpoint: 72 images, not 48; the run goes on in the same epoch, 3 of "
        "12, and has 86 steps to do\n"
    )
    lines, _ = check(tmp_path, capsys, sentence, [3, 3], 15, 17, position=22)  # 15 of 72 are 22.5 of 108
    config = saved_config(json.loads(RunFolder(tmp_path / "run").config.read_text()))
    whole = Pretraining(config, Processes())
    whole.start_at(22)
    assert whole.total_steps == 108
    assert lines[15]["learning_rate"] == whole.optimizer.param_groups[0]["lr"]
    views, order = next(whole.data.views(22)), whole.data._batches[22]
    assert len(views.a) == 8 and len(set(order.tolist()) | set(whole.data._batches[23].tolist())) == 16

    assert run("--resume", until=18) == INTERRUPTED  # the new data are the run's by now
    assert "going on after step 17" in capsys.readouterr().err
    check_continuation(tmp_path, run, images(data))


def check_continuation(tmp_path, run, data):
    """A new run on other data begins at the same place in the epochs: 25 of 108 steps are 16 of 72."""
    shutil.rmtree(tmp_path / "data" / "train" / "class0")
    source = str(RunFolder(tmp_path / "run").checkpoints.path(18))
    second = ["--run-dir", str(tmp_path / "second"), "--continue-from", source]
    assert run(*data, "--epochs", "12", *second, until=17) == INTERRUPTED
    (line,) = metrics_without_time(RunFolder(tmp_path / "second"))
    assert (line["step"], line["epoch"]) == (17, 3)


def test_images_that_are_removed_are_noticed_and_the_epoch_stays(tmp_path, run, capsys):
    data = tmp_path / "data"
    write_folder(data / "train", classes=2, images=56)
    assert run(*images(data), "--epochs", "4", until=23) == INTERRUPTED  # of 56
    for number in range(1, 56):
        (data / "train" / "class0" / f"{number}.png").unlink()
    capsys.readouterr()
    assert run(*images(data), "--resume", until=24) == 1
    assert "error: the data are not those of the checkpoint: 57 images, not 112; bring" in capsys.readouterr().err
    assert run(*images(data), "--resume", "auto", "--allow-changed-data", until=26) == INTERRUPTED
    sentence = "57 images, not 112; the run goes on in the same epoch, 2 of 4, and has 17 steps to do\n"
    lines, said = check(tmp_path, capsys, sentence, [2, 2], 23, 26, position=11)  # 23 of 56 are 11.5 of 28
    assert said.count("\nepoch 2/4") == 1  # after step 26, the epoch's last
    assert [line["epoch"] for line in lines[23:]] == [2, 2, 2]
    assert run("--resume", until=27) == INTERRUPTED
    assert metrics_without_time(RunFolder(tmp_path / "run"))[26]["epoch"] == 3
    assert "Interrupted after step 27 of 40" in capsys.readouterr().err


def test_an_unreadable_image_that_is_removed_is_noticed(tmp_path, run, capsys):
    data = tmp_path / "data"
    write_folder(data / "train", classes=2, images=8)
    broken = data / "train" / "class1" / "2.png"
    broken.write_bytes(b"\x89PNG no more")
    assert run(*images(data), "--epochs", "30", until=2) == INTERRUPTED
    assert "class1/2.png" in (tmp_path / "run" / "unreadable.txt").read_text()
    broken.rename(data / "train" / "class1" / "9.png")
    capsys.readouterr()
    assert run(*images(data), "--resume", until=3) == 1
    assert ": 16 images as before, of other names; bring those back" in capsys.readouterr().err
    (data / "train" / "class1" / "9.png").unlink()
    assert run(*images(data), "--resume", until=3) == 1
    assert ": 15 images, not 16; bring those back" in capsys.readouterr().err
    assert run(*images(data), "--resume", "--allow-changed-data", until=3) == INTERRUPTED
    assert "in the same epoch, 2 of 30, and has 29 steps to do" in capsys.readouterr().err


def test_the_same_data_elsewhere_are_the_same(tmp_path, run, capsys):
    write_folder(tmp_path / "data" / "train")
    assert run(*images(tmp_path / "data"), until=1) == INTERRUPTED
    (tmp_path / "data").rename(tmp_path / "moved")
    assert run(*images(tmp_path / "moved"), "--resume", until=2) == INTERRUPTED
    assert "have changed" not in capsys.readouterr().err


def test_a_place_in_the_epochs_is_carried_over_into_the_same_epoch(tmp_path):
    class Data:
        steps_per_epoch = 7

    for before in (1, 5, 6, 7, 13, 100):
        for position in range(3 * before + 1):
            carried = carried_position({"position": position, "steps_per_epoch": before}, Data())
            assert carried // 7 == position // before
            assert (carried % 7 == 0) or position % before


def identity(folder, **options):
    config = photograph_config(folder, **{"data": "webdataset", "epoch_images": 8, **options})
    return open_training_data(config, Processes(), torch.device("cpu")).identity


@needs_webdataset
def test_shards_are_known_by_their_names_and_sizes(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(2):
        write_shard(tmp_path / "a" / f"{number}.tar", range(4 * number, 4 * number + 4 + number))
    first = identity(tmp_path / "a", shards="*.tar")
    assert first.count == 2 and first == identity(tmp_path / "a", shards="{0..1}.tar")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert identity(tmp_path / "b", shards="*.tar") == first
    other = identity(tmp_path / "b", shards="{1,0}.tar")
    assert other.difference(first) == "2 shards as before, of other names or sizes"
    write_shard(tmp_path / "b" / "1.tar", range(40))
    assert identity(tmp_path / "b", shards="*.tar") != first
    write_shard(tmp_path / "b" / "2.tar", range(4))
    assert identity(tmp_path / "b", shards="*.tar").difference(first) == "3 shards, not 2"


@needs_webdataset
def test_shards_that_are_added_or_removed_are_named_by_another_pattern(tmp_path, run, capsys):
    data = ["--data", "webdataset", "--data-dir", str(tmp_path), "--epoch-images", "16"]
    for number in range(3):
        write_shard(tmp_path / f"{number}.tar", range(8 * number, 8 * number + 8))
    assert run(*data, "--shards", "{0..1}.tar", "--epochs", "9", until=1) == INTERRUPTED
    assert run(*data, "--shards", "[01].tar", "--resume", until=2) == INTERRUPTED
    assert "have changed" not in capsys.readouterr().err
    assert run(*data, "--shards", "{0..2}.tar", "--resume", until=3) == 1
    assert "error: the data are not those of the checkpoint: 3 shards, not 2; bring" in capsys.readouterr().err
    more = ["--resume", "--allow-changed-data", "--shards"]
    assert run(*data, *more, "{0..2}.tar", until=3) == INTERRUPTED
    assert "3 shards, not 2; the run goes on in the same epoch, 2 of 9, and has 16 " in capsys.readouterr().err
    (tmp_path / "0.tar").unlink()
    assert run(*data, *more, "{1..2}.tar", until=4) == INTERRUPTED
    assert "2 shards, not 3; the run goes on in the same epoch, 2 of 9, and has 15 " in capsys.readouterr().err
    assert run("--resume", until=5) == INTERRUPTED


def test_data_without_files_are_known_by_their_number(tmp_path):
    def synthetic(images):
        return identity("", data="synthetic", epoch_images=images)

    assert synthetic(8) == synthetic(8) and synthetic(9).difference(synthetic(8)) == "9 images, not 8"
    digits = identity("", data="digits", epoch_images=0)
    assert (digits.count, digits.what) == (1297, "images")


@pytest.mark.parametrize(
    "change", [{"identity": None}, {"identity": {"count": 1}}, {"steps_per_epoch": 0}, {"position": ""}]
)
def test_a_checkpoint_with_something_else_in_place_of_its_data_is_refused(tiny, change):
    state = Pretraining(tiny, Processes())
    saved = state.state_dict()
    assert resume(state, saved, allow_changed_data=False) is None
    for damaged in ({**saved, **change}, {name: value for name, value in saved.items() if name not in change}):
        with pytest.raises(TrainerError, match="^the checkpoint does not fit this configuration: "):
            resume(state, damaged, allow_changed_data=True)
