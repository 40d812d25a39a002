import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.evaluate import cli, semi_supervised
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy
from bt_kernels.trainer.evaluate.cli import main
from bt_kernels.trainer.evaluate.options import KnnOptions, LinearOptions
from bt_kernels.trainer.evaluate.result import Evaluation, Repetition, format_table, summarise
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.run.files import write_json
from bt_kernels.trainer.weights.export import export_backbone
from tests.support.trainer.image_data import write_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of no steps."""
    folder = tmp_path_factory.mktemp("run")
    config = Config(run_dir=str(folder), backbone="resnet18", projector="8", image_size=8, device="cpu")
    write_json(folder / "config.json", config.as_dict())
    export_backbone(build_network(config).backbone, folder, config)
    return folder


@pytest.fixture
def photographs(tmp_path):
    write_folder(tmp_path / "train", classes=3, images=3)
    write_folder(tmp_path / "val", classes=3, images=2)
    return ["--data", "imagefolder", "--data-dir", str(tmp_path), "--image-size", "12"]


def evaluated(capsys, protocol, run, *options):
    """The table and the JSON file's content."""
    assert main([protocol, "--run", str(run), "--device", "cpu", *options]) == 0
    shown = capsys.readouterr().out
    path = shown.split()[-1]
    with open(path) as file:
        return shown, json.load(file)


@pytest.mark.long
def test_knn_of_the_digits(run, capsys):
    shown, result = evaluated(capsys, "knn", run)
    assert result["protocol"] == "knn" and result["neighbours"] == 129 and result["classes"] == 10
    assert result["images"] == {"train": 1297, "test": 500, "labelled": None, "left_out": 0}
    # Even an untrained network tells most digits apart.
    assert 0.5 < result["accuracy"]["top1"]["mean"] < result["accuracy"]["top5"]["mean"] < 1
    assert result["options"]["shortcuts"] == "pooled" and result["device"] == "cpu"
    assert f"{100 * result['accuracy']['top1']['mean']:.2f}" in shown
    assert "One seed" not in shown and "129 neighbours" in shown


def test_linear_of_the_digits_over_seeds(run, capsys):
    shown, result = evaluated(capsys, "linear", run, "--epochs", "5", "--seeds", "2", "--seed", "3")
    assert [repetition["seed"] for repetition in result["repetitions"]] == [3, 4]
    values = [repetition["accuracy"]["top1"] for repetition in result["repetitions"]]
    assert values[0] != values[1]
    accuracy = result["accuracy"]["top1"]
    assert accuracy["mean"] == pytest.approx(np.mean(values)) and accuracy["half_width_over_seeds"] > 0
    for repetition in result["repetitions"]:
        assert repetition["best"]["top1"] >= repetition["accuracy"]["top1"] and 1 <= repetition["best_epoch"] <= 5
    assert "seed 3" in shown and "seed 4" in shown and "over 2 seeds, by Student's t" in shown
    again_shown, again = evaluated(capsys, "linear", run, "--epochs", "5", "--seeds", "2", "--seed", "3")
    assert again["repetitions"] == result["repetitions"] and again_shown.split()[-1] == shown.split()[-1]
    other, _ = evaluated(capsys, "linear", run, "--epochs", "1", "--seed", "3")
    with open(other.split()[-1]) as file, open(shown.split()[-1]) as first:
        assert json.load(file)["options"]["epochs"] == 1 and json.load(first) == again


@pytest.mark.long
def test_few_labels_of_the_digits(run, capsys, monkeypatch):
    began = []
    original = semi_supervised.fine_tune

    def watched(model, images, chosen, *others):
        began.append((model.backbone.conv1.weight.clone(), chosen))
        original(model, images, chosen, *others)
        assert not torch.equal(model.backbone.conv1.weight, began[-1][0])

    monkeypatch.setattr(semi_supervised, "fine_tune", watched)
    options = ["--labels-percent", "5", "--epochs", "1", "--seeds", "2"]
    shown, result = evaluated(capsys, "semi-supervised", run, *options)
    weights = torch.load(run / "resnet18.pth", weights_only=True)["conv1.weight"]
    assert all(torch.equal(conv, weights) for conv, _ in began)  # every seed begins with the trained weights
    assert not np.array_equal(began[0][1], began[1][1])
    assert result["images"]["labelled"] == len(began[0][1]) == 65
    assert "65 labels of 1297 training images" in shown
    assert (run / "evaluation-semi-supervised-5-percent.json").exists()


def test_photographs_by_a_list_of_labels(run, photographs, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("class0/1.png\nclass1/0.png\nclass2/2.png\nclass2/0.png\n")
    options = ["--label-list", str(tmp_path / "list.txt"), "--epochs", "1", *photographs]
    _, result = evaluated(capsys, "semi-supervised", run, *options)
    assert result["images"] == {"train": 9, "test": 6, "labelled": 4, "left_out": 0}
    assert (run / "evaluation-semi-supervised.json").exists()


@pytest.mark.long
def test_photographs_linear_with_and_without_cached_features(run, photographs, capsys):
    for option in ("--cache-features", "--no-cache-features"):
        _, result = evaluated(capsys, "linear", run, "--epochs", "2", option, *photographs)
        assert result["classes"] == 3 and result["images"]["train"] == 9


def refused(capsys, *arguments):
    """The sentence that a command ends with."""
    assert main([*map(str, arguments)]) == 1
    output = capsys.readouterr()
    last = output.err.splitlines()[-1]
    assert output.out == "" and last.startswith("error: ")
    return last


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--weights", "missing.pth"], "there is no file of weights at missing.pth"),
        (
            ["--backbone", "resnet34"],
            "the weights in {run}/resnet18.pth are another network's: layer1.2.conv1.weight",
        ),
        (["--backbone", "resnet81"], "--backbone resnet81 is "),
        (["--stem", "small"], "conv1.weight is 64x3x7x7, not 64x3x3x3"),
        (["--data", "imagefolder", "--data-dir", "/nowhere"], "/nowhere"),
        (["--data", "imagefolder"], "--data imagefolder needs --data-dir"),
        (["--data", "synthetic"], "--data synthetic has no labels to evaluate by"),
        (["--neighbours", "1298"], "--neighbours 1298 is more than the 1297 training images"),
        (
            ["--output", "nowhere/result.json"],
            "cannot write --output nowhere/result.json: there is no folder nowhere",
        ),
        (["--run", "nowhere"], "cannot read the run folder's nowhere/config.json"),
        (["--device", "tpu"], "--device 'tpu' is not a torch device"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(options, sentence, run, capsys):
    assert sentence.format(run=run) in refused(capsys, "knn", "--run", run, *options)


def test_labels_that_cannot_be_used_are_one_sentence(run, capsys):
    arguments = ("semi-supervised", "--run", run, "--label-list", "list.txt")
    assert "--label-list needs images that are files; use --labels-percent" in refused(capsys, *arguments)


def test_weights_without_a_run_and_a_damaged_image(run, photographs, tmp_path, capsys):
    (tmp_path / "val" / "class1" / "0.png").write_bytes(b"no image")
    weights = shutil.copy(run / "resnet18.safetensors", tmp_path)
    said = refused(capsys, "knn", "--weights", weights, "--device", "cpu", *photographs)
    assert "cannot read class1/0.png" in said


@pytest.mark.long
def test_a_damaged_training_image_is_left_out_counted_and_named(run, photographs, tmp_path, capsys):
    (tmp_path / "train" / "class1" / "0.png").write_bytes(b"no image")
    output = ["--output", str(tmp_path / "result.json"), "--epochs", "1", "--labels-percent", "100"]
    for protocol, options in (("linear", output[:4]), ("semi-supervised", output)):
        assert main([protocol, "--run", str(run), "--device", "cpu", *options, *photographs]) == 0
        said = capsys.readouterr()
        assert (
            "1 training images cannot be read and are left out with their labels; the first is class1/0"
            in said.err
        )
        assert "9 training images, 1 of them unreadable and left out, 6 test images" in said.out
        images = json.loads((tmp_path / "result.json").read_text())["images"]
        assert images == {"train": 9, "test": 6, "left_out": 1, "labelled": 8 if options == output else None}


def test_several_processes_are_refused(run, capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert "the evaluation runs in one process" in refused(capsys, "knn", "--run", run)


def test_an_interruption_has_its_own_status(run, capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "resolve_options", interrupt)
    assert main(["knn", "--run", str(run)]) == 130
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.long
def test_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "bt_kernels.trainer.evaluate", "knn"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: --weights FILE or --run RUN_DIR must say what to evaluate\n"


def parts(train, test, classes):
    """Stand for the two parts of a data set."""
    return [SimpleNamespace(labels=range(count), classes=classes, unreadable={}) for count in (train, test)]


def test_the_table_says_what_the_numbers_are_worth():
    options = LinearOptions(weights="file.pth", data="imagefolder", data_dir="imagenet")
    best = TopAccuracy(0.75, 0.92)
    repetitions = [Repetition(seed, TopAccuracy(0.73 + 0.01 * seed, 0.91), best, 90) for seed in range(3)]
    table = format_table(Evaluation("linear", options, repetitions, *parts(1_281_167, 50_000, 1000)))
    assert table.splitlines() == [
        "linear: resnet50, file.pth, on imagefolder (1281167 training images, 50000 test images, 1000 classes)",
        "accuracy in %                      top-1               top-5",
        "seed 0                             73.00               91.00",
        "seed 1                             74.00               91.00",
        "seed 2                             75.00               91.00",
        # Student's t with 2 degrees of freedom: 4.303 · 1 / sqrt(3).
        "mean                        74.00 ± 2.48        91.00 ± 0.00",
        "best epoch                         75.00               92.00",
        "±: 95 % confidence interval of the mean over 3 seeds, by Student's t.",
        "For 50000 test images alone the 95 % interval of top-1 is 73.61 to 74.38.",
    ]


def test_one_seed_says_nothing_about_the_training():
    options = LinearOptions(weights="file")
    evaluation = Evaluation("linear", options, [Repetition(0, TopAccuracy(1.0, 1.0))], *parts(10, 20, 10))
    assert "One seed: what another training would change is not known; --seeds 3" in format_table(evaluation)
    result = json.loads(json.dumps(summarise(evaluation, 1.25)))
    assert result["accuracy"]["top1"]["half_width_over_seeds"] is None
    assert result["accuracy"]["top1"]["binomial_interval"] == pytest.approx([0.8389, 1.0], abs=1e-4)
    assert result["seconds"] == 1.2 and result["options"]["epochs"] == 100
    knn = Evaluation("knn", KnnOptions(weights="file"), [Repetition(0, TopAccuracy(0.5, 1.0))], *parts(10, 20, 10))
    assert "One seed" not in format_table(knn)
