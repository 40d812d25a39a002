import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice

import pytest
import torch
from torch.utils.data import dataloader, get_worker_info

from bt_kernels.trainer.augmentation.photographs import PhotographViews, normalize, to_float
from bt_kernels.trainer.augmentation.photometric import draw_photometry
from bt_kernels.trainer.data import images as image_files
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.data.decoding import Unreadable
from bt_kernels.trainer.data.digits import ShuffledBatches
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from tests.support.trainer.image_data import photograph_config, write_folder

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "train")
    return tmp_path


def take(config, first=0, steps=4, processes=Processes()):
    """Views of some steps; (steps, 2, n, 3, S, S)."""
    with closing(open_training_data(config, processes, CPU).views(first)) as views:
        taken = list(islice(views, steps))
    return torch.stack([torch.stack([step.a, step.b]) for step in taken])


def unreadable(config, steps=3):
    with closing(open_training_data(config, Processes(), CPU).views(0)) as views:
        return [tuple(image.name for image in step.unreadable) for step in islice(views, steps)]


def test_the_images_of_a_step_are_those_of_the_shuffled_order(folder):
    config = photograph_config(folder)
    data = open_training_data(config, Processes(), CPU)
    assert (data.images, data.steps_per_epoch) == (12, 3)
    assert data.description == f"12 unlabelled images of {folder / 'train'}"
    images = image_files.ImageFiles(folder / "train", 0)
    views = take(config, steps=5)
    assert views.shape == (5, 2, 4, 3, 12, 12) and views.dtype == torch.float32
    for step in (0, 4):
        for row, index in enumerate(ShuffledBatches(12, 4, 0)[step].tolist()):
            pair = PhotographViews(config, 12)(images.read(index), (0, step // 3, index))
            assert torch.equal(views[step, :, row], normalize(to_float(torch.stack(pair))))


@pytest.mark.parametrize("augment_on", ["loader", "device"])
def test_workers_ranks_and_a_later_start_give_the_same_views(folder, augment_on):
    config = photograph_config(folder, augment_on=augment_on)
    before = torch.get_rng_state()
    views = take(config, steps=5)
    parallel = take(photograph_config(folder, augment_on=augment_on, workers=2), first=2, steps=3)
    assert torch.equal(views[2:], parallel)
    shares = [take(config, steps=5, processes=Processes(rank=rank, size=2)) for rank in range(2)]
    assert [share.shape[2] for share in shares] == [2, 2]
    torch.testing.assert_close(torch.cat(shares, dim=2), views, rtol=0, atol=1e-5 if augment_on == "device" else 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_on_the_device_colours_are_drawn_for_each_step_and_view(folder):
    views = take(photograph_config(folder, augment_on="device", seed=2))
    config = photograph_config(folder, augment_on="device", seed=2)
    images, draw = image_files.ImageFiles(folder / "train", 0), PhotographViews(config, 12)
    for step in range(4):
        keys = [(2, step // 3, index) for index in ShuffledBatches(12, 4, 2)[step].tolist()]
        pairs = [draw(images.read(key[2]), key) for key in keys]
        for view in range(2):
            pixels = to_float(torch.stack([pair[view] for pair in pairs]))
            assert torch.equal(views[step, view], normalize(draw_photometry(config, view, 4, (2, step))(pixels)))


def test_an_epoch_has_every_image_in_new_views(folder):
    views = take(photograph_config(folder, seed=3), steps=6)
    assert not torch.equal(views, take(photograph_config(folder, seed=4), steps=6))
    assert len(views.flatten(3).flatten(0, 2).unique(dim=0)) == 6 * 2 * 4


@pytest.fixture
def workers():
    """Returns the worker processes there are, those of other tests left out."""
    before = multiprocessing.active_children()
    return lambda: [child for child in multiprocessing.active_children() if child not in before]


def test_closing_the_views_ends_their_workers(folder, workers):
    views = open_training_data(photograph_config(folder, workers=2), Processes(), CPU).views(0)
    next(views)
    assert len(workers()) == 2
    views.close()
    assert workers() == []


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_replaced_and_named(folder, content, workers):
    good = take(photograph_config(folder), steps=3)
    file = folder / "train" / "class1" / "2.png"
    file.write_bytes(file.read_bytes()[:-200] if content == "cut" else content)
    config = photograph_config(folder, workers=workers)
    batches = ShuffledBatches(12, 4, 0)
    affected = next(step for step in range(3) if 6 in batches[step])
    assert unreadable(config) == [("class1/2.png",) if step == affected else () for step in range(3)]
    views = take(config, steps=3)
    assert torch.equal(views, take(config, steps=3))
    row = batches[affected].tolist().index(6)
    same = (views == good).flatten(3).all(dim=3)
    assert not same[affected, :, row].any()
    assert same.sum() == 3 * 2 * 4 - 2
    replaced = views[affected, :, row]
    others = good[affected][:, [other for other in range(4) if other != row]]
    assert replaced.isfinite().all() and (others - replaced[:, None]).abs().flatten(2).amax(dim=2).min() > 0.01


def test_a_file_that_has_gone_is_unreadable(folder):
    config = photograph_config(folder)
    data = open_training_data(config, Processes(), CPU)
    (folder / "train" / "class0" / "0.png").unlink()
    found = sum((step.unreadable for step in islice(data.views(0), 3)), ())
    assert found == (Unreadable("class0/0.png", "No such file or directory"),)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_a_readable_image_is_an_error(folder, workers):
    for file in (folder / "train").glob("*/*"):
        file.write_bytes(b"")
    with pytest.raises(
        TrainerError,
        match=r"^none of the 4 images of a batch can be read, the first is class\d/\d.png \(it is empty\)",
    ):
        take(photograph_config(folder, workers=workers))


def test_a_worker_that_dies_is_an_error_of_one_sentence(folder, monkeypatch):
    def die(self, index):
        assert get_worker_info() is not None
        os._exit(1)

    monkeypatch.setattr(image_files.ImageFiles, "read", die)
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    with pytest.raises(TrainerError, match="^a process that reads images has died, .* than 2 --workers$"):
        take(photograph_config(folder, workers=2))


def test_a_dead_worker_is_an_error_only_where_its_batch_is_due(folder, workers, monkeypatch):
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    views = open_training_data(photograph_config(folder, workers=2), Processes(), CPU).views(0)
    next(views)
    os.kill(workers()[0].pid, signal.SIGKILL)
    time.sleep(0.2)  # DataLoader's own handler would raise here
    with pytest.raises(TrainerError, match="^a process that reads images has died, "):
        for _ in range(9):
            next(views)
    assert workers() == []


@pytest.mark.long
def test_an_error_with_the_views_still_open_ends_the_program(folder):
    program = f"""
import torch
from tests.support.trainer.image_data import photograph_config
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.parallel.processes import Processes

if __name__ == "__main__":
    config = photograph_config({str(folder)!r}, workers=1)
    views = open_training_data(config, Processes(), torch.device("cpu")).views(0)
    next(views)
    raise SystemExit(3)
"""
    (folder / "program.py").write_text(program)
    search = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, str(folder / "program.py")]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, timeout=60).returncode == 3


def test_workers_leave_signals_to_the_main_process(folder, workers):
    views = open_training_data(photograph_config(folder, workers=2), Processes(), CPU).views(0)
    next(views)
    first = next(views)  # one of each worker: both have begun
    for child in workers():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            os.kill(child.pid, number)
    time.sleep(0.1)
    assert next(views).a.shape == first.a.shape
    assert len(workers()) == 2
    views.close()


def test_other_errors_are_not_taken_for_damaged_images(folder, monkeypatch):
    def wrong(self, image, key):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(PhotographViews, "__call__", wrong)
    with pytest.raises(RuntimeError, match="a mistake"):
        take(photograph_config(folder))


def refusal(folder, **options):
    processes = options.pop("processes", Processes())
    with pytest.raises(TrainerError) as error:
        open_training_data(photograph_config(folder, **options), processes, CPU)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_folders_are_named(tmp_path):
    root = tmp_path / "train"
    assert refusal(tmp_path / "none") == f"--data imagefolder needs the folder {tmp_path / 'none'} with the images"
    assert refusal(tmp_path).startswith(f"{tmp_path} holds no images (.jpg, ")
    root.mkdir()
    assert refusal(tmp_path).startswith(f"{root} holds no images (")
    (root / "cat").mkdir()
    (root / "cat" / "notes.txt").write_text("none")
    assert refusal(tmp_path).endswith("); passed over: 1 of other endings (.txt: 1)")


def test_impossible_batches_are_refused(folder):
    assert (
        refusal(folder, batch_size=13) == "--batch-size 13 is more than the 12 training images; lower --batch-size"
    )
    assert refusal(folder, batch_size=7, processes=Processes(size=4)) == (
        "--batch-size 7 is less than 2 images for each of 4 processes, which batch norm needs"
    )
