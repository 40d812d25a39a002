"""Whole runs through the command line, in this process: their files, their end and their going on."""

import dataclasses
import json
import re
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from bt_kernels.backends import cpu
from bt_kernels.backends.registry import choose_backend
from bt_kernels.backends.stages import Availability
from bt_kernels.trainer import cli
from bt_kernels.trainer.cli import INTERRUPTED, PREEMPTED, launcher, main
from bt_kernels.trainer.config.presets import saved_config
from bt_kernels.trainer.data.digits import DigitViews
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.run.metrics import read_metrics
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.training import loop
from bt_kernels.trainer.training.loss_backend import take_backend
from bt_kernels.trainer.training.neighbours import NeighbourAccuracy
from bt_kernels.trainer.training.pretraining import Pretraining
from tests.support.trainer.run_state import last_state, metrics_without_time, same

PICTURES = [
    "accuracy.png",
    "augmented_views.png",
    "cross_correlation.png",
    "embedding.png",
    "loss_curves.png",
    "neighbours.png",
    "statistics.png",
]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def signal_in(monkeypatch):
    """Send this process a signal while the given step is being done."""

    def install(step, number=signal.SIGINT):
        train_step = Pretraining.train_step

        def interrupted(state, views):
            if state.step + 1 == step:
                signal.raise_signal(number)
            return train_step(state, views)

        monkeypatch.setattr(Pretraining, "train_step", interrupted)

    return install


@pytest.mark.long
def test_interrupted_run_resumes_to_the_bits_of_the_uninterrupted_one(
    tiny, folder, arguments, tmp_path, signal_in, monkeypatch, capsys
):
    assert main(arguments(tiny)) == 0
    said = capsys.readouterr().err
    backend = choose_backend("auto", torch.device("cpu"))
    assert "backbone='resnet18'" in said and f", loss backend {backend}" in said
    assert json.loads(folder.summary.read_text())["loss_backend"] == backend
    with monkeypatch.context():
        signal_in(3)  # in the middle of the second epoch
        second = RunFolder(tmp_path / "second")
        command = [*arguments(tiny), "--run-dir", str(second.root)]
        assert main(command) == INTERRUPTED
        assert f"--resume --run-dir {second.root}" in capsys.readouterr().err
        assert last_state(second)["step"] == 3
        assert not second.finished
        monkeypatch.undo()
    with monkeypatch.context() as patched:
        for drawing in ("draw_curves", "draw_views", "draw_features"):  # once is enough, and slow
            patched.setattr(draw, drawing, lambda *arguments: None)
        assert main(["--resume", "--run-dir", str(second.root)]) == 0
    assert metrics_without_time(second) == metrics_without_time(folder)
    assert len(metrics_without_time(second)) == 4
    assert same(last_state(second), last_state(folder))
    accuracies = [json.loads(run.summary.read_text())["accuracy"] for run in (folder, second)]
    assert accuracies[0] == accuracies[1]
    check_folder(folder, tiny)
    check_finished_run_is_kept(folder, tiny, arguments, capsys)


def check_folder(folder, config):
    assert json.loads(folder.config.read_text()) == config.as_dict()
    pictures = {picture.name: picture for picture in folder.pictures.iterdir()}
    assert sorted(pictures) == PICTURES
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures.values())
    weights = torch.load(folder.root / "resnet18.pth", weights_only=True)
    assert "conv1.weight" in weights and same(weights, load_file(folder.root / "resnet18.safetensors"))
    assert sorted(file.name for file in folder.root.iterdir()) == [
        "checkpoints", "config.json", "metrics.jsonl", "pictures", "resnet18.pth", "resnet18.safetensors",
        "summary.json",
    ]  # fmt: skip
    assert folder.checkpoints.steps() == [2, 4]
    metrics = metrics_without_time(folder)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert [line["epoch"] for line in metrics] == [1, 1, 2, 2]
    for line in metrics:
        measured = line["step"] % config.statistics_every == 0
        assert line["loss"] == pytest.approx(line["on_diagonal"] + config.lambd * line["off_diagonal"], rel=1e-5)
        assert line["unreadable_images"] == 0
        for name in ("mean_correlation", "off_diagonal_rms", "embedding_std", "effective_rank", "knn_accuracy"):
            assert (line[name] is not None) == measured  # both every second step
    summary = json.loads(folder.summary.read_text())
    assert list(summary["accuracy"]) == ["trained", "untrained", "pixels"]
    for by_labels in summary["accuracy"].values():
        assert list(by_labels) == ["1", "2", "5", "10", "all"]
        for accuracy in by_labels.values():
            assert 0 <= accuracy["mean"] <= 1 and accuracy["std"] >= 0
        assert by_labels["1"]["draws"] == config.label_draws
    assert summary["accuracy"]["pixels"]["all"]["mean"] > 0.9
    assert summary["images"] == {"train": 1297, "test": 500} and summary["steps"] == 4
    assert {"python", "torch", "torchvision", "scikit-learn", "bt_kernels"} <= set(summary["versions"])


def check_finished_run_is_kept(folder, config, arguments, capsys):
    before = {file: file.stat().st_mtime_ns for file in folder.root.rglob("*")}
    capsys.readouterr()
    for extra in ([], ["--resume"]):
        assert main(["--run-dir", str(folder.root), *extra]) == 1
        longer = f"holds a finished run; to train it longer, .* --continue-from {folder.checkpoints.path(4)}"
        expected = longer if extra else "already holds a finished run; choose another --run-dir"
        assert re.fullmatch(f"error: {folder.root} {expected}\n", capsys.readouterr().err)
    assert main([*arguments(config), "--resume", "auto"]) == 0
    assert re.fullmatch(f"{folder.root} {longer}; nothing is left to do.\n", capsys.readouterr().err)
    assert {file: file.stat().st_mtime_ns for file in folder.root.rglob("*")} == before


@pytest.mark.long
def test_what_fails_while_neighbours_are_measured_costs_no_step(tiny, folder, arguments, signal_in, monkeypatch):
    def fail(neighbours):
        raise TrainerError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(NeighbourAccuracy, "__call__", fail)
        assert main(arguments(tiny)) == 1
    assert folder.checkpoints.steps() == [2]
    assert [line["knn_accuracy"] for line in metrics_without_time(folder)] == [None, None]
    signal_in(3)
    assert main(["--resume", "--run-dir", str(folder.root)]) == INTERRUPTED
    assert [line["knn_accuracy"] is not None for line in metrics_without_time(folder)] == [False, True, False]


def test_the_command_to_go_on_names_this_python(tmp_path, monkeypatch):
    for name in ("python", "torchrun"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    assert launcher(Processes()) == "bin/python"
    assert launcher(Processes(0, 4, 0, 2)) == "bin/python -m torch.distributed.run --nproc-per-node 2"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert launcher(Processes()) == str(tmp_path / "bin" / "python")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert launcher(Processes()) == "python"
    assert launcher(Processes(0, 4, 0, 2)) == "torchrun --nproc-per-node 2"


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(x, marks=pytest.mark.long) for x in (signal.SIGUSR1, signal.SIGHUP))],
)
def test_preempted_run_saves_and_the_same_command_goes_on(tiny, folder, arguments, signal_in, monkeypatch, number):
    command = [*arguments(tiny), "--resume", "auto"]
    with monkeypatch.context():
        signal_in(1, number)
        assert main(command) == PREEMPTED
        assert folder.checkpoints.steps() == [1]
        monkeypatch.undo()
    signal_in(2, number)
    assert main(command) == PREEMPTED
    assert folder.checkpoints.steps() == [1, 2]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_unfinished_run_is_not_overwritten_nor_resumed_with_other_options(
    tiny, folder, arguments, signal_in, capsys
):
    signal_in(1)
    assert main(arguments(tiny)) == INTERRUPTED
    path = folder.checkpoints.path(1)
    before = path.read_bytes()
    capsys.readouterr()
    assert main(arguments(tiny)) == 1
    assert "unfinished run; go on with it by --resume" in capsys.readouterr().err
    assert main(["--resume", "--run-dir", str(folder.root), "--epochs", "9"]) == 1
    assert "--epochs 9 contradicts" in capsys.readouterr().err
    assert path.read_bytes() == before

    content = folder.checkpoints.load_latest(pytest.fail)
    content["training"]["network"].pop("projector.0.weight")
    folder.checkpoints.save(1, content["config"], content["training"])
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert "does not fit this configuration" in capsys.readouterr().err

    path.write_bytes(before[:1000])
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert "is damaged or no checkpoint" in capsys.readouterr().err


def test_a_second_process_is_kept_out_of_a_run(tiny, folder, arguments, signal_in, capsys):
    signal_in(1)
    assert main(arguments(tiny)) == INTERRUPTED
    with folder.open_existing():
        assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert f"error: another process is training in {folder.root}" in capsys.readouterr().err


def test_resume_without_a_run_is_refused(folder, capsys):
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert (
        capsys.readouterr().err
        == f"error: nothing to resume: there is no checkpoint in {folder.checkpoints.folder}\n"
    )
    assert not folder.root.exists()


def test_resuming_and_continuing_from_elsewhere_exclude_each_other(folder, capsys):
    assert main(["--run-dir", str(folder.root), "--resume", "--continue-from", "other.pt"]) == 1
    assert "give one of them" in capsys.readouterr().err


def test_folder_with_an_impossible_name_is_refused(tmp_path, capsys):
    assert main(["--run-dir", str(tmp_path / ("x" * 300))]) == 1
    assert capsys.readouterr().err.endswith("File name too long\n")


def test_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--run-dir", str(tmp_path / "file" / "run")]) == 1
    assert capsys.readouterr().err == (
        f"error: cannot write to the run folder {tmp_path / 'file' / 'run'}: Not a directory\n"
    )


def test_loss_backend_is_known_with_the_reason_for_a_slower_one(monkeypatch, tmp_path, capsys):
    device = torch.device("cpu")
    monkeypatch.setattr(cpu, "LIBRARY", Availability(False, "the C++ ops are not built"))
    assert str(take_backend("auto", device, torch.float32)) == "eager (no cpu: the C++ ops are not built)"
    assert str(take_backend("eager", device, torch.float32)) == "eager"
    command = ["--run-dir", str(tmp_path), "--backbone", "resnet18", "--device", "cpu", "--loss-backend", "cuda"]
    assert main(command) == 1
    assert "error: --loss-backend cuda is not possible: backend 'cuda' cannot run on" in capsys.readouterr().err


def test_batch_larger_than_the_data_is_refused(tmp_path, capsys):
    assert main(["--run-dir", str(tmp_path), "--batch-size", "1298", "--backbone", "resnet18"]) == 1
    assert (
        capsys.readouterr().err
        == "error: --batch-size 1298 is more than the 1297 training images; lower --batch-size\n"
    )


@pytest.fixture
def nan_from(monkeypatch):
    """Make all embeddings NaN from the given step on."""

    def install(step):
        train_step = Pretraining.train_step

        def poisoned(state, views):
            if state.step + 1 >= step:
                views = dataclasses.replace(views, a=views.a * float("nan"))
            return train_step(state, views)

        monkeypatch.setattr(Pretraining, "train_step", poisoned)

    return install


@pytest.mark.long
def test_the_time_that_a_run_waits_for_its_batches_adds_up_over_its_parts(
    tiny, folder, arguments, signal_in, monkeypatch
):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(loop, "time", clock)
    views, step = DigitViews.views, loop._Loop._step

    def slow(data, first_step):
        for batch in views(data, first_step):
            clock.now += 7
            yield batch

    def slow_step(state, *arguments):
        clock.now += 100
        return step(state, *arguments)

    monkeypatch.setattr(DigitViews, "views", slow)
    monkeypatch.setattr(loop._Loop, "_step", slow_step)
    monkeypatch.setattr(cli, "report", lambda state, folder: int(10 * state.waiting_seconds))
    signal_in(2)
    assert main(arguments(dataclasses.replace(tiny, knn_every=0))) == INTERRUPTED
    assert main(["--resume", "--run-dir", str(folder.root)]) == 280
    assert [metrics.waiting_seconds for metrics in read_metrics(folder.metrics)] == [7, 14, 21, 28]


def test_diverging_loss_names_the_step_and_the_good_checkpoint(tiny, folder, arguments, nan_from, capsys):
    nan_from(4)
    assert main(arguments(tiny)) == 1
    assert (
        "error: the loss is nan at step 4; the checkpoint of step 2 has finite weights and is the last one before "
        "the first sign of it: start a new run with a lower --learning-rate and --continue-from "
        f"{folder.checkpoints.path(2)}\n"
    ) in capsys.readouterr().err


def test_loss_that_is_never_finite_names_no_checkpoint(tiny, arguments, nan_from, capsys):
    nan_from(1)
    assert main(arguments(tiny)) == 1
    assert "error: the loss is nan at step 1, before any checkpoint; start again" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_not_saved(tiny, folder, arguments, monkeypatch, capsys):
    train_step = Pretraining.train_step

    def spoiled(state, views):
        metrics = train_step(state, views)
        if state.step == 4:
            next(state.network.parameters()).data[0, 0, 0, 0] = float("inf")
        return metrics

    monkeypatch.setattr(Pretraining, "train_step", spoiled)
    assert main([*arguments(tiny), "--knn-every", "0"]) == 1
    assert "weights are not finite after step 4; the checkpoint of step 2 has finite" in capsys.readouterr().err
    assert folder.checkpoints.steps() == [2]


@pytest.mark.long
def test_new_run_continues_from_a_checkpoint_of_another_with_other_rates(
    tiny, folder, arguments, tmp_path, signal_in, monkeypatch, capsys
):
    with monkeypatch.context():
        signal_in(3)
        assert main(arguments(tiny)) == INTERRUPTED
        monkeypatch.undo()
    signal_in(4)
    second = RunFolder(tmp_path / "second")
    changed = dataclasses.replace(tiny, run_dir=str(second.root), learning_rate=1e-5)
    source = ["--continue-from", str(folder.checkpoints.path(3))]
    assert main([*arguments(changed), *source]) in (0, INTERRUPTED)
    lines = metrics_without_time(second)
    assert [line["step"] for line in lines] == [4]
    assert lines[0]["learning_rate"] < 1e-5
    before, after = last_state(folder)["network"], last_state(second)["network"]
    moved = max((after[name] - before[name]).abs().max() for name in after if name.endswith("weight"))
    assert 0 < moved < 1e-4
    check_continuation_with_other_settings(tiny, arguments, source, tmp_path, monkeypatch, capsys)
    assert saved_config(json.loads(second.config.read_text())) == changed


def check_continuation_with_other_settings(tiny, arguments, source, tmp_path, monkeypatch, capsys):
    """Another optimizer begins without the other's state; with another batch the position is that in epochs."""
    other = dataclasses.replace(tiny, run_dir=str(tmp_path / "other"), projector="16")
    assert main([*arguments(other), *source]) == 1
    assert f"--projector 16 is not that of {source[1]}, 32-32" in capsys.readouterr().err
    third = RunFolder(tmp_path / "third")
    changed = dataclasses.replace(tiny, run_dir=str(third.root), optimizer="sgd", batch_size=200, knn_every=0)
    train_step = Pretraining.train_step

    def first(state, views):
        assert state.step == 9  # 3 of 2 × 2 steps are 9 of 2 × 6
        signal.raise_signal(signal.SIGINT)
        return train_step(state, views)

    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "train_step", first)
        assert main([*arguments(changed), *source]) == INTERRUPTED
    assert "holds the state of adamw; sgd begins without one" in capsys.readouterr().err
    assert set(last_state(third)["optimizer"]["state"][0]) == {"momentum_buffer"}
