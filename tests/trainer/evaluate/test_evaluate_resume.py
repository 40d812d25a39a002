"""An evaluation that is stopped between two epochs and goes on, and what is shown of it on the way."""

import io
import json
import shutil
import sys

import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.evaluate import progress
from bt_kernels.trainer.evaluate.cli import main
from bt_kernels.trainer.evaluate.progress import bar
from bt_kernels.trainer.evaluate.unfinished import Unfinished
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.run.files import write_json
from bt_kernels.trainer.weights.export import export_backbone
from tests.support.trainer.image_data import write_folder
from tests.support.trainer.run_state import same

pytestmark = pytest.mark.long

LINEAR = ["linear", "--epochs", "3", "--seeds", "2"]
# The backbone has dropout, and with it the state of the random numbers.
SEMI_SUPERVISED = [
    "semi-supervised",
    "--labels-percent",
    "100",
    "--epochs",
    "2",
    "--seeds",
    "2",
    "--batch-size",
    "4",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of no steps, beside its images."""
    root = tmp_path_factory.mktemp("finished")
    write_folder(root / "images" / "train", classes=3, images=3)
    write_folder(root / "images" / "val", classes=3, images=2)
    config = Config(
        data="imagefolder",
        data_dir=str(root / "images"),
        backbone="mobilenet_v3_small",
        shortcuts="strided",
        projector="8",
        image_size=32,
        device="cpu",
    )
    (root / "run").mkdir()
    write_json(root / "run" / "config.json", config.as_dict())
    export_backbone(build_network(config).backbone, root / "run", config)
    return root / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def last(monkeypatch):
    """The state that was saved last; a KeyboardInterrupt after ``last.left`` times."""

    class Last:
        left = 1000
        content = None

    save = torch.save

    def watched(content, file):
        Last.content = content
        save(content, file)

    def interrupted(unfinished, *arguments):
        original(unfinished, *arguments)
        Last.left -= 1
        if Last.left == 0:
            raise KeyboardInterrupt

    original = Unfinished.save
    monkeypatch.setattr(torch, "save", watched)
    monkeypatch.setattr(Unfinished, "save", interrupted)
    return Last


def command(protocol, run, *more):
    return [*protocol, "--run", str(run), "--device", "cpu", *more]


def evaluated(capsys):
    with open(capsys.readouterr().out.split()[-1]) as file:
        return json.load(file)


@pytest.mark.parametrize("protocol", [LINEAR, SEMI_SUPERVISED], ids=["linear", "semi-supervised"])
def test_an_interrupted_evaluation_goes_on_to_the_bits_of_the_uninterrupted_one(
    protocol, finished, run, last, tmp_path, capsys
):
    whole = shutil.copytree(finished, tmp_path / "whole")
    assert main(command(protocol, whole)) == 0
    expected, whole_result = last.content, evaluated(capsys)
    assert len(expected["repetitions"]) == 1  # of the two, and the other one's last epoch

    epochs = int(protocol[protocol.index("--epochs") + 1])
    for left, more in ((1, ()), (epochs, ("--resume",)), (1000, ("--resume", "auto"))):  # the last one with seed 1
        last.left = left
        assert main(command(protocol, run, *more)) == (0 if left == 1000 else 130)
        if left != 1000:
            assert "Interrupted; the same command with --resume goes on after the last" in capsys.readouterr().err
            assert [path.suffix for path in run.glob("evaluation*")] == [".unfinished"]
    assert last.left == 1000 - (epochs - 1)  # no epoch was done twice
    assert same(last.content["training"], expected["training"])
    result = evaluated(capsys)
    assert result["repetitions"] == whole_result["repetitions"] and result["images"] == whole_result["images"]
    assert [path.suffix for path in run.glob("evaluation*")] == [".json"]


@pytest.fixture
def begun(run, last):
    """A run folder with an evaluation that was stopped after its first epoch."""
    last.left = 1
    assert main(command(LINEAR, run)) == 130
    return run


def refusal(capsys, *arguments):
    assert main([*map(str, arguments)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_an_unfinished_evaluation_is_neither_lost_nor_mixed_up(begun, last, capsys):
    state = begun / "evaluation-linear.unfinished"
    before = state.read_bytes()
    output = ["--output", begun / "evaluation-linear.json"]
    assert "holds an unfinished evaluation; go on with it by --resume" in refusal(capsys, *command(LINEAR, begun))
    other = command(["linear", "--epochs", "4", "--seeds", "2"], begun)
    said = refusal(capsys, *other, *output, "--resume")
    assert said.endswith("was begun with --epochs 3, and this is 4; give the same")
    assert state.read_bytes() == before
    # In the run's folder other settings get another name, and there nothing has begun.
    assert refusal(capsys, *other, "--resume").endswith(
        "nothing to resume: there is no " + str(begun / "evaluation-linear-2.unfinished")
    )
    last.left = 1000
    assert main(other) == 0 and (begun / "evaluation-linear-2.json").exists()
    assert state.read_bytes() == before


def test_other_weights_and_other_images_are_refused(begun, tmp_path, capsys):
    resumed = command(LINEAR, begun, "--resume")
    moved = tmp_path / "moved"
    write_folder(moved / "train", classes=3, images=4)
    write_folder(moved / "val", classes=3, images=2)
    said = refusal(capsys, *resumed, "--data-dir", moved)
    assert said.endswith("was begun on other train images: 12 images, not 9")
    weights = torch.load(begun / "mobilenet_v3_small.pth", weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, begun / "mobilenet_v3_small.pth")
    assert "was begun with other weights than" in refusal(capsys, *resumed)


def test_a_damaged_state_and_no_place_for_one_are_sentences(begun, capsys):
    state = begun / "evaluation-linear.unfinished"
    state.write_bytes(state.read_bytes()[:100])
    said = refusal(capsys, *command(LINEAR, begun, "--resume"))
    assert said.endswith(
        "evaluation-linear.unfinished is damaged or no unfinished evaluation; remove it to begin anew"
    )
    config = json.loads((begun / "config.json").read_text())
    weights = ["--weights", begun / "mobilenet_v3_small.pth", "--data-dir", config["data_dir"], "--device", "cpu"]
    assert "--resume needs --output or --run" in refusal(capsys, "linear", *weights, "--resume")


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress._Lines, "latest", clock.now)
    return clock


def test_without_a_terminal_there_is_a_line_a_minute_over_all_loops(clock, capsys):
    for _ in bar(range(2), 2, "outer"):
        for _ in bar(range(9), 9, "inner"):
            clock.now += 20
    assert capsys.readouterr().err.splitlines() == [
        f"inner: {done} of 9, {left} left"
        for _ in range(2)
        for done, left in ((3, "02:00"), (6, "01:00"), (9, "00:00"))
    ]


def test_on_a_terminal_there_are_bars(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(bar("abc", 3, "letters")) == ["a", "b", "c"]
    assert "letters:" in terminal.getvalue() and "0/3" in terminal.getvalue()


def test_an_evaluation_shows_where_it_is(run, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LONGEST_SILENCE", 0.0)
    assert main(command(SEMI_SUPERVISED, run)) == 0
    said = capsys.readouterr().err.splitlines()
    for expected in (
        "seed 1, epoch 2/2: 1 of 2",
        "fine-tuning, seed 1, epochs: 2 of 2",
        "test images: 1 of 2",
    ):
        assert any(line.startswith(expected) for line in said)
