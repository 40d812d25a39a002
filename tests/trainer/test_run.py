import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from bt_kernels.trainer import pretrain
from bt_kernels.trainer.checkpoint import load_checkpoint, save_checkpoint
from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.run_folder import RunFolder

PICTURES = [
    "accuracy.png",
    "augmented_views.png",
    "cross_correlation.png",
    "embedding.png",
    "loss_curves.png",
]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def interrupt_after(monkeypatch):
    """Press Ctrl-C while the given step is being done."""

    def install(step):
        train_step = pretrain.Pretraining.train_step

        def interrupted(state):
            if state.step + 1 == step:
                signal.raise_signal(signal.SIGINT)
            return train_step(state)

        monkeypatch.setattr(pretrain.Pretraining, "train_step", interrupted)

    return install


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def metrics_without_time(folder):
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_interrupted_run_resumes_to_the_bits_of_the_uninterrupted_one(
    tiny, folder, arguments, tmp_path, interrupt_after, monkeypatch, capsys
):
    assert main(arguments(tiny)) == 0
    with monkeypatch.context():
        interrupt_after(3)  # in the middle of the second epoch
        second = RunFolder(tmp_path / "second")
        command = [*arguments(tiny), "--run-dir", str(second.root)]
        assert main(command) == INTERRUPTED
        assert f"--resume --run-dir {second.root}" in capsys.readouterr().err
        assert load_checkpoint(second.checkpoint)["training"]["step"] == 3
        assert not second.summary.exists()
        monkeypatch.undo()
    assert main(["--resume", "--run-dir", str(second.root)]) == 0
    assert metrics_without_time(second) == metrics_without_time(folder)
    assert len(metrics_without_time(second)) == 4
    assert same(
        load_checkpoint(second.checkpoint)["training"], load_checkpoint(folder.checkpoint)["training"]
    )
    accuracies = [json.loads(run.summary.read_text())["accuracy"] for run in (folder, second)]
    assert accuracies[0] == accuracies[1]
    check_folder(folder, tiny)
    check_finished_run_is_kept(folder, capsys)


def check_folder(folder, config):
    assert json.loads(folder.config.read_text()) == config.as_dict()
    assert sorted(picture.name for picture in folder.pictures.iterdir()) == PICTURES
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in folder.pictures.iterdir())
    assert folder.backbone("resnet18").name == "resnet18.pth"
    assert "conv1.weight" in torch.load(folder.backbone("resnet18"), weights_only=True)
    assert sorted(file.name for file in folder.root.iterdir()) == [
        "checkpoint.pt", "config.json", "metrics.jsonl", "pictures", "resnet18.pth", "summary.json"
    ]  # fmt: skip
    metrics = metrics_without_time(folder)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert [line["epoch"] for line in metrics] == [1, 1, 2, 2]
    for line in metrics:
        assert line["loss"] == pytest.approx(
            line["on_diagonal"] + config.lambd * line["off_diagonal"], rel=1e-5
        )
    summary = json.loads(folder.summary.read_text())
    assert set(summary) == {
        "accuracy", "final", "steps", "images", "seconds", "seed", "device", "threads", "versions"
    }  # fmt: skip
    assert list(summary["accuracy"]) == ["trained", "untrained", "pixels"]
    for by_labels in summary["accuracy"].values():
        assert list(by_labels) == ["1", "2", "5", "10", "all"]
        for accuracy in by_labels.values():
            assert 0 <= accuracy["mean"] <= 1 and accuracy["std"] >= 0
        assert by_labels["1"]["draws"] == config.label_draws
    assert summary["accuracy"]["pixels"]["all"]["mean"] > 0.9
    assert summary["images"] == {"train": 1297, "test": 500} and summary["steps"] == 4
    assert set(summary["seconds"]) == {"training", "evaluation", "pictures"}
    assert {"python", "torch", "torchvision", "scikit-learn", "bt_kernels"} <= set(summary["versions"])


def check_finished_run_is_kept(folder, capsys):
    before = {file: file.stat().st_mtime_ns for file in folder.root.rglob("*")}
    capsys.readouterr()
    for extra in ([], ["--resume"]):
        assert main(["--run-dir", str(folder.root), *extra]) == 1
        expected = f"error: {folder.root} already holds a finished run; choose another --run-dir\n"
        assert capsys.readouterr().err == expected
    assert {file: file.stat().st_mtime_ns for file in folder.root.rglob("*")} == before


def test_unfinished_run_is_not_overwritten_nor_resumed_with_other_options(
    tiny, folder, arguments, interrupt_after, monkeypatch, capsys
):
    interrupt_after(1)
    assert main(arguments(tiny)) == INTERRUPTED
    before = folder.checkpoint.read_bytes()
    capsys.readouterr()
    assert main(arguments(tiny)) == 1
    assert "unfinished run; go on with it by --resume" in capsys.readouterr().err
    assert main(["--resume", "--run-dir", str(folder.root), "--epochs", "9"]) == 1
    assert "--epochs 9 contradicts" in capsys.readouterr().err
    assert folder.checkpoint.read_bytes() == before

    content = load_checkpoint(folder.checkpoint)
    content["training"]["network"].pop("projector.0.weight")
    save_checkpoint(folder.checkpoint, content["config"], content["training"])
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert "does not fit this configuration" in capsys.readouterr().err

    folder.checkpoint.write_bytes(before[:1000])
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert "is damaged or no checkpoint" in capsys.readouterr().err


def test_resume_without_a_run_is_refused(folder, capsys):
    assert main(["--resume", "--run-dir", str(folder.root)]) == 1
    assert (
        capsys.readouterr().err
        == f"error: nothing to resume: there is no checkpoint at {folder.checkpoint}\n"
    )
    assert not folder.root.exists()


def test_diverging_loss_stops_the_run(tiny, arguments, monkeypatch, capsys):
    monkeypatch.setattr(pretrain.TwoViews, "augment", lambda self, images: images * float("nan"))
    assert main(arguments(tiny)) == 1
    assert "the loss is nan at step 1" in capsys.readouterr().err


def test_ctrl_c_in_a_process_leaves_a_checkpoint_and_code_130(tiny, folder, arguments):
    command = [sys.executable, "-m", "bt_kernels.trainer", *arguments(tiny), "--epochs", "10000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (folder.metrics.exists() and folder.metrics.read_text().count("\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == INTERRUPTED
    assert "go on with:" in errors and "Traceback" not in errors
    assert "\r" not in errors  # no progress bar where there is no terminal
    steps = len(folder.metrics.read_text().splitlines())
    assert load_checkpoint(folder.checkpoint)["training"]["step"] == steps >= 2
