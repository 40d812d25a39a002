"""Every option that names a file or a folder, as people write it: absolute, relative, with ~ for their home."""

import json
import os
from contextlib import closing

import pytest
import torch
import yaml

from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import build_parser, given_options
from bt_kernels.trainer.data import open_training_data
from bt_kernels.trainer.evaluate.cli import main as evaluate
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.report import draw
from bt_kernels.trainer.report.__main__ import main as report
from bt_kernels.trainer.run.run_folder import RunFolder
from tests.support.trainer.image_data import needs_webdataset, write_folder, write_shard
from tests.support.trainer.interrupt import stop_after
from tests.support.trainer.run_state import last_state

pytestmark = pytest.mark.long

SMALL = {
    "data": "imagefolder", "backbone": "resnet18", "device": "cpu", "image_size": 12, "projector": "16-16",
    "batch_size": 6, "epochs": 4, "knn_every": 0, "workers": 0, "precision": "float32", "warmup": "0",
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "a place {0..1} [a-z] ü"
    folder.mkdir()
    return folder


@pytest.fixture(params=["absolute", "relative", "home"])
def written(request, root, monkeypatch):
    """Returns what a user writes for a file in ``root``."""
    (root.parent / "elsewhere").mkdir()
    before = {"absolute": f"{root}/", "relative": f"{root.name}/", "home": f"~/{root.name}/"}[request.param]
    monkeypatch.chdir(root.parent / ("" if request.param == "relative" else "elsewhere"))
    monkeypatch.setenv("HOME", str(root.parent))
    return lambda name: before + name


@pytest.fixture
def images(root):
    write_folder(root / "images" / "train", images=4)
    write_folder(root / "images" / "val", images=3)
    return root / "images"


def test_a_run_and_what_is_done_with_it(root, images, written, monkeypatch, capsys):
    options = {**SMALL, "data_dir": written("images/"), "run_dir": written("run/")}
    (root / "options.yaml").write_text(yaml.safe_dump(options, allow_unicode=True))
    command = ["--config", written("options.yaml")]
    with monkeypatch.context() as patched:
        stop_after(1, patched)
        assert main(command) == INTERRUPTED
    folder = RunFolder(root / "run")
    assert last_state(folder)["step"] == 1
    assert json.loads(folder.config.read_text())["data_dir"] == str(images)
    checkpoint = written("run/checkpoints/step-00000001.pt")
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        again = ["--run-dir", written("second"), "--continue-from", checkpoint, "--data-dir", written("images")]
        assert main([*command, *again]) == INTERRUPTED
    assert last_state(RunFolder(root / "second"))["step"] == 2
    with monkeypatch.context() as patched:
        patched.chdir("/")  # what was saved holds there, too
        stop_after(2, patched)
        assert main(["--resume", "--run-dir", str(folder.root)]) == INTERRUPTED
    assert last_state(folder)["step"] == 2

    check_evaluations(root, written, checkpoint)
    for drawing in ("draw_curves", "draw_views", "draw_features"):
        monkeypatch.setattr(draw, drawing, lambda output, *what, drawing=drawing: (output / drawing).touch())
    options = ["--output", written("pictures"), "--data-dir", written("images")]
    assert report([written("run"), "--device", "cpu", *options]) == 0
    assert (root / "pictures" / "draw_curves").exists()
    assert not capsys.readouterr().err.count("error")
    assert set(os.listdir(root.parent)) == {root.name, "elsewhere"} and not os.listdir(root.parent / "elsewhere")


def check_evaluations(root, written, checkpoint):
    assert evaluate(["knn", "--run", written("run/")]) == 0
    assert (root / "run" / "evaluation-knn.json").exists()
    (root / "knn.yaml").write_text(yaml.safe_dump({"run": written("run")}))
    data = ["--data", "imagefolder", "--data-dir", written("images/")]
    output = ["--output", written("result.json")]
    assert evaluate(["knn", "--config", written("knn.yaml"), "--weights", checkpoint, *data, *output]) == 0
    assert json.loads((root / "result.json").read_text())["options"]["weights"].endswith("step-00000001.pt")
    (root / "labels.txt").write_text("\n".join(f"class{label}/{n}.png" for label in range(3) for n in range(2)))
    few = ["--label-list", written("labels.txt"), "--epochs", "1", "--batch-size", "6"]
    assert evaluate(["semi-supervised", "--run", written("run"), *few]) == 0


@needs_webdataset
@pytest.mark.parametrize("pattern", ["a.tar", "x-{0..1}.tar", "x-*.tar", "sub folder/[a-b].tar", "{a,x-?}.tar"])
def test_shards_in_any_folder(root, written, pattern):
    (root / "sub folder").mkdir()
    for number, name in enumerate(("a", "x-0", "x-1", "sub folder/b")):
        write_shard(root / f"{name}.tar", range(6 * number, 6 * number + 6))
    options = {**SMALL, "data": "webdataset", "data_dir": written(""), "shards": pattern, "epoch_images": 6}
    command = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    config = Config(**given_options(vars(build_parser(command).parse_args(command))).options)
    data = open_training_data(config, Processes(), torch.device("cpu"))
    with closing(data.views(0)) as views:
        assert not next(views).unreadable


def test_a_home_that_is_unknown_is_a_name_like_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "imagefolder", "--data-dir", "~nobody.of.this.name", "--run-dir=run"]
    assert main(options) == 1
    assert f"{tmp_path}/~nobody.of.this.name" in capsys.readouterr().err


def test_a_result_that_would_be_a_folder_is_refused_at_once(tmp_path, capsys):
    torch.save({}, tmp_path / "weights.pth")
    command = ["knn", "--weights", str(tmp_path / "weights.pth"), "--data", "digits", "--shortcuts", "strided"]
    assert evaluate([*command, "--output", f"{tmp_path}/"]) == 1
    assert f"error: cannot write --output {tmp_path}: it is a folder; name a file in it" in capsys.readouterr().err
