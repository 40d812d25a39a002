"""The trainer as ``torchrun`` starts it, on two ranks, and what those ranks share between them."""

import dataclasses
import json
import threading
import time
from itertools import chain

import pytest
import torch
import torch.distributed as dist

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.augmentation.digits import TwoViews
from bt_kernels.trainer.cli import main
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.data.digits import ShuffledBatches, load_split
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.run.signals import Stop
from bt_kernels.trainer.training.loop import train
from bt_kernels.trainer.training.pretraining import Pretraining
from tests.support.trainer import PROGRAMS
from tests.support.trainer.image_data import write_folder
from tests.support.trainer.run_state import last_state, metrics_without_time
from tests.support.trainer.torchrun import torchrun

RANK = str(PROGRAMS / "rank.py")
ALONE = str(PROGRAMS / "alone.py")
FAILING_STORE = str(PROGRAMS / "failing_store.py")
SPREAD = str(PROGRAMS / "spread.py")


def losses_on_two_ranks(config):
    """The loss of every step, computed in this process: batch norm sees one rank's rows, the loss all of them."""
    images = load_split(config.image_size, config.seed).train_images
    batches = ShuffledBatches(len(images), config.batch_size, config.seed)
    two_views = TwoViews(torch.Generator().manual_seed(config.seed))
    network = build_network(config).train()
    optimizer = build_optimizer(network, config)
    scheduler = build_scheduler(optimizer, config, batches.steps_per_epoch)
    losses = []
    for step in range(config.epochs * batches.steps_per_epoch):
        halves = zip(*(view.chunk(2) for view in two_views(images[batches[step]])), strict=True)
        embeddings = [network(*views) for views in halves]
        loss = BarlowTwinsLoss(lambd=config.lambd)(*map(torch.cat, zip(*embeddings, strict=True)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.long
def test_run_on_two_ranks_is_one_run_that_stops_everywhere_and_goes_on(tiny, arguments, tmp_path):
    tiny = dataclasses.replace(tiny, label_draws=1)
    finished = torchrun(RANK, *arguments(tiny))
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("Interrupted after step 2 of 4, checkpoint saved") == 1
    assert finished.stderr.count(" --nproc-per-node 2 -m bt_kernels.trainer --resume") == 1
    assert finished.stderr.count("2 processes") == 2  # once before the interruption and once after it
    assert finished.stdout.count("Run folder") == 1
    assert "Warning" not in finished.stderr

    folder, interrupted = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run-interrupted")
    assert folder.finished and json.loads(folder.config.read_text()) == tiny.as_dict()
    metrics = metrics_without_time(folder)
    assert [line["loss"] for line in metrics] == pytest.approx(losses_on_two_ranks(tiny), rel=1e-4)
    assert [line["knn_accuracy"] is not None for line in metrics] == [False, True, False, True]

    alone = Pretraining(dataclasses.replace(tiny, run_dir=str(tmp_path / "alone")), Processes())
    alone.load_state_dict(last_state(interrupted))
    lines = folder.metrics.read_text().splitlines(keepends=True)
    RunFolder(tmp_path / "alone").open_new()
    RunFolder(tmp_path / "alone").metrics.write_text("".join(lines[:2]))
    assert alone.step == 2 and train(alone, RunFolder(tmp_path / "alone")) == Stop.NO
    assert [line["step"] for line in metrics_without_time(RunFolder(tmp_path / "alone"))] == [1, 2, 3, 4]


@pytest.mark.long
def test_spread_over_the_ranks_a_network_takes_the_same_steps(tmp_path):
    """FSDP2's steps are DDP's, LARS's norms included, and a checkpoint of one is a checkpoint of the other."""
    finished = torchrun(SPREAD, str(tmp_path / "found.json"))
    assert finished.returncode == 0, finished.stderr
    assert "returned a view tensor" not in finished.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["share"] == pytest.approx(0.5, rel=0.01) and found["units"] > 5
    assert found["fsdp"] == pytest.approx(found["ddp"], rel=1e-5)
    assert found["fsdp to ddp"] == pytest.approx(found["ddp"][2:], rel=1e-5)
    assert found["ddp to fsdp"] == pytest.approx(found["ddp"][2:], rel=1e-5)


@pytest.mark.long
def test_what_fails_on_one_rank_alone_is_one_sentence_and_the_end_of_all(tmp_path, monkeypatch):
    write_folder(tmp_path / "first" / "train")
    write_folder(tmp_path / "fewer" / "train", classes=2)
    options = ["--data", "imagefolder", "--data-dir", str(tmp_path / "first"), "--knn-every", "0"]
    for other, sentence in (
        ("fewer", "rank 1 does not read what rank 0 does: 8 images, not 12; give all machines the same files\n"),
        ("missing", f"--data imagefolder needs the folder {tmp_path / 'missing'} with the images"),
    ):
        monkeypatch.setenv("DATA_OF_RANK_1", str(tmp_path / other))
        refused = torchrun(ALONE, *options, "--batch-size", "8", "--run-dir", str(tmp_path / "run"))
        assert refused.returncode == 1
        assert refused.stderr.count(f"error: {sentence}") == 1


@pytest.mark.long
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_images_that_are_gone_on_one_rank_end_all_with_a_checkpoint(tmp_path, parallel):
    write_folder(tmp_path / "train")
    options = ["--data", "imagefolder", "--data-dir", str(tmp_path), "--knn-every", "0", "--batch-size", "4"]
    network = ["--backbone", "resnet18", "--projector", "16", "--parallel", parallel, "--device", "cpu"]
    failed = torchrun(FAILING_STORE, *options, *network, "--run-dir", str(tmp_path / "run"))
    assert failed.returncode == 1
    (sentence,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert "none of the 2 images of a batch can be read" in sentence and "(Stale file handle)" in sentence
    assert sentence.endswith("; the checkpoint of step 2 is saved, --resume goes on from it")
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoints.steps() == [2] and last_state(folder)["step"] == 2
    assert [line["step"] for line in metrics_without_time(folder)] == [1, 2]


@pytest.mark.parametrize(("rows", "size"), [(64, 1), (64, 2), (7, 3), (8, 4), (10, 4)])
def test_ranks_share_out_a_batch_in_order_and_evenly(rows, size):
    batch = list(range(rows))
    shares = [batch[Processes(rank, size).own_rows(rows)] for rank in range(size)]
    assert list(chain.from_iterable(shares)) == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_batch_of_fewer_than_two_images_a_rank_is_refused(tiny):
    with pytest.raises(TrainerError, match="--batch-size 7 is less than 2 images for each of 4 processes"):
        open_training_data(dataclasses.replace(tiny, batch_size=7), Processes(3, 4, 3, 4), torch.device("cpu"))
    with pytest.raises(
        TrainerError, match="--batch-size 7 is less than 2 images for each of 4 chunks on 1 processes"
    ):
        open_training_data(dataclasses.replace(tiny, batch_size=7, accumulate=4), Processes(), torch.device("cpu"))


def test_every_process_takes_the_gpu_of_its_own_number(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    second = Processes(rank=3, size=4, local_rank=1, local_size=2)
    assert second.take_device("auto") == second.take_device("cuda") == torch.device("cuda:1")
    assert taken == [1, 1]
    assert second.take_device("cpu") == torch.device("cpu")
    with pytest.raises(TrainerError, match="--device cuda:0 is one GPU for 4 processes"):
        second.take_device("cuda:0")
    with pytest.raises(TrainerError, match="3 processes need a GPU each and this PyTorch sees 2"):
        Processes(rank=2, size=3, local_rank=2, local_size=3).take_device("auto")
    assert Processes().take_device("cuda:0") == torch.device("cuda:0")


def test_leaving_waits_for_the_thread_that_holds_the_last_tensor(monkeypatch):
    """gloo's thread needs the interpreter to let go of it; if that ends first, the process is aborted."""
    events = []

    def hold(tensor):
        time.sleep(0.2)
        events.append("let go")

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: threading.Thread(target=hold, args=(tensor,)).start())
    monkeypatch.setattr(dist, "destroy_process_group", lambda: events.append("closed"))
    Processes(0, 2).leave()
    assert events == ["let go", "closed"]


def test_one_process_does_what_it_is_asked_and_joins_nobody(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    alone = Processes.join()
    assert alone == Processes() and alone.first
    assert alone.any(True) and not alone.any(False)
    assert alone.total(torch.ones(2)).tolist() == [1, 1] and alone.gather("it") == ["it"]
    assert alone.share(lambda: 7) == alone.on_first(lambda: 7) == 7
    assert main(["--epochs", "0"]) == 1
    alone.leave()
