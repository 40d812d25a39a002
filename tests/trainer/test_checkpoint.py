import pytest
import torch

from bt_kernels.trainer import run_folder
from bt_kernels.trainer.checkpoint import load_checkpoint, save_checkpoint
from bt_kernels.trainer.errors import TrainerError


def test_round_trip(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"seed": 1}, {"weight": torch.arange(3)})
    content = load_checkpoint(path)
    assert content["config"] == {"seed": 1}
    assert torch.equal(content["training"]["weight"], torch.arange(3))


def test_failed_write_keeps_the_old_checkpoint_and_leaves_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"seed": 1}, {})

    def write_half(content, destination):
        destination.write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(TrainerError, match="disk full"):
        save_checkpoint(path, {"seed": 2}, {})
    assert load_checkpoint(path)["config"] == {"seed": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = run_folder.os.fsync, run_folder.os.replace
    monkeypatch.setattr(run_folder.os, "fsync", lambda file: (events.append("fsync"), fsync(file)))
    monkeypatch.setattr(run_folder.os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    save_checkpoint(tmp_path / "checkpoint.pt", {}, {})
    assert events == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "foreign"])
def test_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {}, {"weight": torch.zeros(1000)})
    content = path.read_bytes()
    if damage == "foreign":
        torch.save({"model": 1}, path)
    else:
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "garbage": b"x" * 500, "empty": b""}[damage]
        )
    with pytest.raises(TrainerError, match=r"checkpoint\.pt is"):
        load_checkpoint(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(TrainerError, match="nothing to resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")
