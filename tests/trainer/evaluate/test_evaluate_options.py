import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import joblib
import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.command import PROTOCOLS, build_parser
from bt_kernels.trainer.evaluate.options import KnnOptions, LinearOptions, SemiSupervisedOptions
from bt_kernels.trainer.evaluate.sources import resolve_options
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.run.checkpoint import Checkpoints
from bt_kernels.trainer.run.files import write_json
from bt_kernels.trainer.weights.export import export_backbone


@pytest.fixture(scope="module")
def config():
    return Config(
        backbone="resnet18", stem="small", projector="8", image_size=8, seed=5, data="stl10", data_dir="stl"
    )


@pytest.fixture(scope="module")
def backbone(config):
    return build_network(config).backbone


@pytest.fixture(scope="module")
def finished(config, backbone, tmp_path_factory):
    """A finished run's folder, as far as an evaluation is concerned."""
    folder = tmp_path_factory.mktemp("finished")
    write_json(folder / "config.json", config.as_dict())
    export_backbone(backbone, folder, config)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A folder like the finished one, for a single test."""
    return Path(shutil.copytree(finished, tmp_path / "run", copy_function=os.link))


def of_the_backbone(options):
    return options.backbone, options.stem, options.shortcuts, options.image_size


def resolve(options=KnnOptions, **given):
    return resolve_options(given, options)


def test_the_protocols_settings_are_the_papers():
    linear = LinearOptions(weights="file")
    assert (linear.epochs, linear.batch_size, linear.learning_rate, linear.momentum) == (100, 256, 0.3, 0.9)
    assert linear.weight_decay == 1e-6
    semi = SemiSupervisedOptions(weights="file")
    assert (semi.epochs, semi.batch_size, semi.labels_percent, semi.weight_decay) == (20, 256, 1.0, 0.0)
    assert (semi.learning_rate_backbone, semi.learning_rate_classifier, semi.momentum) == (0.005, 0.5, 0.9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_option_is_on_the_command_line(protocol, capsys):
    parsed = vars(build_parser().parse_args([protocol, "--weights", "file", "--no-compile"]))
    assert parsed == {"protocol": protocol, "weights": "file", "compile": False}
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args([protocol, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0 and "--weights" in said
    assert (
        "shards of images; synthetic, random images to measure the throughput with (default: that of the run"
        in said
    )
    assert "default: digits" not in said and "at most 8)" in said


@pytest.mark.parametrize(("data", "side"), [("digits", 16), ("cifar10", 32), ("stl10", 96), ("imagefolder", 224)])
def test_the_images_have_the_data_sets_usual_side(data, side, backbone, tmp_path):
    torch.save(backbone.state_dict(), tmp_path / "file.pth")
    given = {"weights": str(tmp_path / "file.pth"), "data": data, "data_dir": "" if data == "digits" else "folder"}
    assert resolve(**given).image_size == side and resolve(**given).shortcuts == "strided"
    assert resolve(**given, image_size=64).image_size == 64


def test_a_run_says_what_it_was_made_with(run):
    options = resolve(run=str(run))
    assert options.weights == str(run / "resnet18.pth")
    assert options.output == str(run / "evaluation-knn.json")
    assert of_the_backbone(options) == ("resnet18", "small", "pooled", 8)
    assert (options.data, options.data_dir, options.seed) == ("stl10", "stl", 5)
    assert resolve(LinearOptions, run=str(run)).output == str(run / "evaluation-linear.json")
    semi = resolve(SemiSupervisedOptions, run=str(run), labels_percent=10.0)
    assert semi.output == str(run / "evaluation-semi-supervised-10-percent.json")


def test_single_options_go_before_the_runs(run):
    options = resolve(run=str(run), seed=7, shortcuts="strided", data="digits", output="elsewhere.json")
    assert (options.seed, options.shortcuts, options.output) == (7, "strided", "elsewhere.json")
    assert (options.data, options.data_dir, options.image_size) == ("digits", "", 8)
    with pytest.raises(TrainerError, match="--data cifar10 needs --data-dir"):
        resolve(run=str(run), data="cifar10")


def test_the_weights_file_says_what_backbone_it_is(run, config, backbone):
    options = resolve(weights=str(run / "resnet18.safetensors"), data_dir="here")
    assert of_the_backbone(options) == ("resnet18", "small", "pooled", 8)
    assert (options.data, options.data_dir, options.seed, options.output) == ("stl10", "here", 0, "")
    checkpoints = Checkpoints(run)
    checkpoints.save(1, config.as_dict(), {"network": {}})
    assert resolve(weights=str(checkpoints.path(1))).data == "stl10"


def test_an_unfinished_run_gives_its_latest_checkpoint(run, config):
    for path in run.glob("resnet18.*"):
        path.unlink()
    with pytest.raises(TrainerError, match="run holds neither exported weights nor a checkpoint; name a file by"):
        resolve(run=str(run))
    (run / "checkpoints").mkdir()
    for step in (3, 12):
        Checkpoints(run / "checkpoints").save(step, config.as_dict(), {"network": {}})
    assert resolve(run=str(run)).weights == str(run / "checkpoints" / "step-00000012.pt")


def test_a_yaml_file_goes_between_the_command_line_and_the_run(run, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(f"run: {run}\nneighbours: 3\nseed: 1\ntemperature: 1e-1\n")
    options = resolve(config=path, seed=2)
    assert (options.neighbours, options.seed, options.temperature, options.stem) == (3, 2, 0.1, "small")
    path.write_text("neighbors: 3\n")
    with pytest.raises(TrainerError, match="'neighbors', which is no option; did you mean neighbours?"):
        resolve(config=path, run=str(run))


def test_weights_have_to_be_named():
    with pytest.raises(TrainerError, match="--weights FILE or --run RUN_DIR must say what to evaluate"):
        resolve()


def test_a_folder_that_is_no_run_is_said(tmp_path):
    with pytest.raises(TrainerError, match="cannot read the run folder's .*config.json: No such file"):
        resolve(run=str(tmp_path))
    for content, sentence in (
        ("{", "is damaged or no configuration"),
        ("[]", "is no configuration of this trainer"),
        (
            json.dumps({"backbone": "resnet18", "seed": "one"}),
            "seed in .*config.json must be a whole number, got one",
        ),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(TrainerError, match=sentence):
            resolve(run=str(tmp_path))


@pytest.mark.parametrize("data", ["webdataset", "synthetic"])
def test_data_without_labels_are_refused(data, run):
    with pytest.raises(TrainerError, match=f"--data {data} has no labels to evaluate by; use another one"):
        resolve(run=str(run), data=data)


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        (KnnOptions, {"neighbours": -1}, "--neighbours must be at least 0, got -1"),
        (KnnOptions, {"temperature": 0.0}, "--temperature must be a finite number greater than 0"),
        (KnnOptions, {"batch_size": 0}, "--batch-size must be at least 1"),
        (KnnOptions, {"precision": "float16", "device": "cpu"}, "--precision float16 needs a GPU"),
        (LinearOptions, {"seeds": 0}, "--seeds must be at least 1"),
        (LinearOptions, {"epochs": 0}, "--epochs must be at least 1"),
        (LinearOptions, {"learning_rate": -0.1}, "--learning-rate must be a finite number greater than 0"),
        (LinearOptions, {"momentum": 1.0}, "--momentum must be at least 0 and less than 1"),
        (
            SemiSupervisedOptions,
            {"labels_percent": 0.0},
            "--labels-percent must be greater than 0 and at most 100",
        ),
        (SemiSupervisedOptions, {"labels_percent": 101.0}, "--labels-percent must be greater than 0"),
        (SemiSupervisedOptions, {"weight_decay": float("nan")}, "--weight-decay must be a finite number >= 0"),
        (SemiSupervisedOptions, {"decay": "linear"}, "--decay must be one of cosine, steps, got 'linear'"),
    ],
)
def test_values_out_of_range_are_said(options, given, sentence):
    with pytest.raises(TrainerError, match=sentence):
        options(weights="file", **given)


def test_a_pth_is_described_by_the_safetensors_beside_it_and_alone_it_is_a_guess(tmp_path, capsys):
    config = Config(backbone="resnet18", image_size=8)
    pth, safetensors = export_backbone(build_network(config).backbone, tmp_path, config)
    given = {"weights": str(pth), "data": "digits"}
    described = resolve_options(given, KnnOptions)
    assert (described.backbone, described.shortcuts, described.image_size) == ("resnet18", "pooled", 8)
    assert not capsys.readouterr().err
    safetensors.unlink()
    assert resolve_options(given, KnnOptions).shortcuts == "strided"
    assert capsys.readouterr().err == (
        f"warning: {pth} does not say how it was trained, taken to be --shortcuts strided --image-size 16; with "
        "the wrong ones accuracies are too low: name them\n"
    )
    resolve_options({**given, "shortcuts": "pooled", "image_size": 8}, KnnOptions)
    assert not capsys.readouterr().err


def test_the_images_have_to_be_named_where_nothing_says_what_they_are(backbone, tmp_path):
    torch.save(backbone.state_dict(), tmp_path / "file.pth")
    with pytest.raises(
        TrainerError, match="file.pth does not say what to evaluate on; name the images by --data,"
    ):
        resolve(weights=str(tmp_path / "file.pth"))


def test_a_run_says_how_many_workers_as_far_as_there_are_cores(run, config, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    for of_the_run, workers in ((0, 0), (3, 3), (16, 4)):
        (run / "config.json").unlink()  # a link to the finished run's
        write_json(run / "config.json", replace(config, workers=of_the_run).as_dict())
        assert resolve(run=str(run)).workers == workers
        assert resolve(run=str(run), workers=9).workers == 9
    weights = str(run / "resnet18.safetensors")  # which says nothing about workers
    assert resolve(weights=weights, data="imagefolder", data_dir="images").workers == 4
    assert resolve(weights=weights, data="digits").workers == 0


def test_what_another_data_set_changes_is_said(run, tmp_path, capsys):
    resolve(run=str(run), data="imagefolder", data_dir="images")
    assert capsys.readouterr().err == (
        "warning: images are seen at 8 x 8 pixels; usual for --data imagefolder is --image-size 224\n"
    )
    resolve(run=str(run), data="imagefolder", data_dir="images", image_size=224)
    assert not capsys.readouterr().err
    resolve(run=str(run), data="digits", image_size=16)
    assert capsys.readouterr().err.endswith(
        "was trained on stl10, whose pixels are not normalised in the way that those of digits are\n"
    )
