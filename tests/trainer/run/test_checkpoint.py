import os
import subprocess
import sys

import pytest
import torch

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run import files
from bt_kernels.trainer.run.checkpoint import FORMAT, Checkpoints, load_checkpoint


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path)


def refuse(sentence):
    pytest.fail(f"warned: {sentence}")


def test_round_trip(checkpoints):
    checkpoints.save(3, {"seed": 1}, {"weight": torch.arange(3)})
    content = checkpoints.load_latest(refuse)
    assert content["config"] == {"seed": 1}
    assert torch.equal(content["training"]["weight"], torch.arange(3))


def test_latest_are_kept_and_the_latest_is_loaded(checkpoints):
    for step in (9, 10, 100, 1000):
        checkpoints.save(step, {"seed": step}, {})
    checkpoints.keep(2)
    assert checkpoints.steps() == [100, 1000]
    assert checkpoints.load_latest(refuse)["config"] == {"seed": 1000}
    checkpoints.keep(5)
    assert checkpoints.steps() == [100, 1000]


def test_failed_write_keeps_the_old_checkpoint_and_leaves_no_debris(checkpoints, monkeypatch):
    checkpoints.save(1, {"seed": 1}, {})

    def write_half(content, destination):
        destination.write(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(TrainerError, match="disk full"):
        checkpoints.save(1, {"seed": 2}, {})
    assert checkpoints.load_latest(refuse)["config"] == {"seed": 1}
    assert [file.name for file in checkpoints.folder.iterdir()] == ["step-00000001.pt"]


@pytest.mark.long
def test_full_disk_is_one_sentence(checkpoints):
    checkpoints.save(1, {}, {"weight": torch.zeros(10)})
    program = f"""
import resource, signal, sys, torch
from pathlib import Path
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.checkpoint import Checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Checkpoints(Path({str(checkpoints.folder)!r})).save(2, {{}}, {{"weight": torch.zeros(1_000_000)}})
except TrainerError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout == f"cannot write {checkpoints.path(2)}: File too large\n"
    assert checkpoints.steps() == [1] and len(list(checkpoints.folder.iterdir())) == 1


def test_content_reaches_the_disk_before_the_name(checkpoints, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda file: (events.append("fsync"), fsync(file)))
    monkeypatch.setattr(files.os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    checkpoints.save(1, {}, {})
    assert events == ["fsync", "replace", "fsync"]


@pytest.fixture(params=["truncated", "garbage", "empty", "foreign", "code", "flipped bit", "pickle"])
def damage(request):
    """Damages a checkpoint's file."""

    def do(path):
        content = path.read_bytes()
        if request.param == "foreign":
            torch.save({"model": 1}, path)
        elif request.param == "pickle":
            path.write_bytes(b"\x80\x02.")
        elif request.param == "code":
            torch.save({"format": FORMAT, "config": {}, "training": subprocess.Popen}, path)
        else:
            middle = len(content) // 2  # among the zeros of the weight
            assert content[middle] == 0
            flipped = content[:middle] + b"\x01" + content[middle + 1 :]
            damaged = {"truncated": content[:middle], "garbage": b"x" * 500, "empty": b"", "flipped bit": flipped}
            path.write_bytes(damaged[request.param])

    return do


def test_damaged_file_is_refused_by_name(checkpoints, damage):
    checkpoints.save(1, {}, {"weight": torch.zeros(1000)})
    damage(checkpoints.path(1))
    with pytest.raises(TrainerError, match=r"step-00000001\.pt is"):
        load_checkpoint(checkpoints.path(1))
    with pytest.raises(TrainerError, match=r"step-00000001\.pt is .*; no checkpoint is left, start a new run"):
        checkpoints.load_latest(refuse)


def test_damaged_file_is_passed_over_with_a_warning_and_does_not_count_again(checkpoints, damage):
    for step in (1, 2, 3):
        checkpoints.save(step, {"seed": step}, {"weight": torch.zeros(1000)})
    damage(checkpoints.path(3))
    warnings = []
    assert checkpoints.load_latest(warnings.append)["config"] == {"seed": 2}
    assert len(warnings) == 1 and "step-00000003.pt is" in warnings[0]
    assert warnings[0].endswith("; going on from the checkpoint before it")
    assert checkpoints.steps() == [1, 2]
    checkpoints.keep(1)
    assert checkpoints.load_latest(refuse)["config"] == {"seed": 2}


def test_other_version_is_refused_and_kept(checkpoints):
    checkpoints.save(1, {}, {})
    torch.save({"format": FORMAT - 1, "config": {}, "training": {}}, checkpoints.path(2))
    with pytest.raises(TrainerError, match=f"another version of this trainer .format {FORMAT - 1}, not {FORMAT}"):
        checkpoints.load_latest(refuse)
    assert checkpoints.steps() == [1, 2]


def test_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(checkpoints, monkeypatch):
    checkpoints.save(1, {}, {})
    checkpoints.save(2, {}, {})

    def fail(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(TrainerError, match=r"cannot read .*step-00000002.pt: Input/output error"):
        checkpoints.load_latest(refuse)
    assert checkpoints.steps() == [1, 2]


def test_missing_file_is_refused(checkpoints):
    with pytest.raises(TrainerError, match="nothing to resume"):
        checkpoints.load_latest(refuse)
