import dataclasses
import json
import runpy
import sys
from importlib.metadata import version

import pytest

from bt_kernels.trainer.cli import main
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.option import flag, shown
from bt_kernels.trainer.config.presets import (
    PRESETS,
    Given,
    build_parser,
    given_options,
    resumed_config,
    saved_config,
)
from bt_kernels.trainer.errors import TrainerError

# The settings of the authors' repository, spelled out a second time.
IMAGENET = {
    "backbone": "resnet50",
    "stem": "imagenet",
    "shortcuts": "strided",
    "image_size": 224,
    "projector": "8192-8192-8192",
    "lambd": 0.0051,
    "batch_size": 2048,
    "epochs": 1000,
    "optimizer": "lars",
    "momentum": 0.9,
    "lars_coefficient": 0.001,
    "learning_rate": 0.2,
    "learning_rate_biases": 0.0048,
    "scale_learning_rates": True,
    "warmup": "10",
    "final_learning_rate": 0.001,
    "weight_decay": 1e-6,
    "views": "separately",
    "gradient_divisor": 32.0,
    "crop_scale": (0.08, 1.0),
    "flip_probability": 0.5,
    "jitter": (0.4, 0.4, 0.2, 0.1),
    "jitter_probability": 0.8,
    "greyscale_probability": 0.2,
    "blur_probability": (1.0, 0.1),
    "solarize_probability": (0.0, 0.2),
}


def parse(*arguments):
    return Config(**given_options(vars(build_parser(arguments).parse_args(arguments))).options)


def test_help_names_every_option_its_meaning_and_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("-\n", "-").split()).replace("- ", "-")
    for field in dataclasses.fields(Config):
        assert flag(field.name) in text
        default = shown(field.default) if isinstance(field.default, tuple) else field.default
        assert f"(default: {default})" in text
        assert field.metadata["help"]
    for option in ("--resume", "--preset", "--config", "--continue-from"):
        assert option in text
    with pytest.raises(SystemExit):
        main(["--preset", "imagenet", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "passes over the training images (default: 1000)" in text and "are those of imagenet" in text


def test_without_options_a_run_is_the_small_preset():
    assert parse() == parse("--preset", "small") == Config()


def test_imagenet_is_the_recipe_of_the_repository():
    config = parse("--preset", "imagenet", "--data-dir", "images")
    assert {name: getattr(config, name) for name in IMAGENET} == IMAGENET
    assert config.warmup_steps(steps_per_epoch=625) == 6250


def test_single_options_go_before_the_file_and_the_file_before_the_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "preset: cifar\nepochs: 50\nlearning-rate: 1e-2\njitter: [0.1, 0.1, 0.1, 0]\ncompile: true\nwarmup: 20\n"
    )
    assert parse("--config", str(file)).warmup == "20"
    config = parse("--config", str(file), "--epochs", "3", "--warmup", "0", "--no-compile")
    assert config.epochs == 3 and not config.compile
    assert config.learning_rate == 0.01 and config.jitter == (0.1, 0.1, 0.1, 0.0)
    assert config.batch_size == PRESETS["cifar"]["batch_size"]
    assert parse("--config", str(file), "--preset", "small").backbone == "resnet50"


def test_saved_configuration_is_a_file_of_options(tmp_path):
    config = parse("--preset", "imagenet", "--data-dir", "images", "--crop-scale", "0.2,0.9")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.as_dict()))
    assert parse("--config", str(file)) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch: 3", "sets 'epoch', which is no option; did you mean epochs?"),
        ("epochs: many", "--epochs in .* must be a whole number, got many"),
        ("epochs: 2.5", "--epochs in .* must be a whole number, got 2.5"),
        ("compile: 1", "--compile in .* must be true or false, got 1"),
        ("jitter: 0.4", "--jitter in .* must be a list of numbers"),
        ("- epochs", "must map options to values"),
        ("epochs: [", "is not YAML"),
        ("preset: huge", "preset in .* must be one of small, cifar, photographs, imagenet"),
        ("epochs: 0", "--epochs must be at least 1"),
    ],
)
def test_bad_file_of_options_is_refused(tmp_path, content, message):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(TrainerError, match=message):
        parse("--config", str(file))


def test_missing_file_of_options_is_refused(tmp_path):
    with pytest.raises(TrainerError, match="cannot read .*none.yaml: No such file"):
        parse("--config", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_dir", " "),
        ("device", "tpu9"),
        ("device", "meta"),
        ("device", "cuda:99"),
        ("seed", -1),
        ("data", "mnist"),
        ("data_dir", ""),
        ("workers", -1),
        ("epoch_images", -1),
        ("backbone", ""),
        ("stem", "large"),
        ("shortcuts", "none"),
        ("precision", "float8"),
        ("projector", "512-"),
        ("projector", "0"),
        ("projector", "-5"),
        ("image_size", 4),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.9, 0.1)),
        ("crop_scale", (0.5,)),
        ("jitter", (0.4, 0.4, 0.2)),
        ("jitter", (0.4, 0.4, 0.2, 0.6)),
        ("flip_probability", 1.5),
        ("blur_probability", (1.0,)),
        ("solarize_probability", (0.0, 2.0)),
        ("augment_on", "gpu"),
        ("epochs", 0),
        ("epochs", -3),
        ("batch_size", 1),
        ("accumulate", 0),
        ("accumulation", "none"),
        ("views", "both"),
        ("parallel", "tp"),
        ("optimizer", "adam"),
        ("lambd", 0.0),
        ("lambd", float("nan")),
        ("gradient_divisor", 0.0),
        ("loss_backend", "tpu"),
        ("learning_rate", -1.0),
        ("learning_rate_biases", float("nan")),
        ("final_learning_rate", 1.5),
        ("momentum", 1.0),
        ("weight_decay", float("inf")),
        ("lars_coefficient", 0.0),
        ("warmup", "100%"),
        ("warmup", "-1"),
        ("warmup", "ten"),
        ("warmup", "nan"),
        ("warmup", "30"),
        ("checkpoint_every", 0),
        ("keep_checkpoints", 0),
        ("statistics_every", 0),
        ("knn_every", -1),
        ("label_draws", 0),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_option(name, value):
    others = {"data": "imagefolder"} if name == "data_dir" else {}
    with pytest.raises(TrainerError, match=flag(name)):
        Config(**{**others, name: value})


@pytest.mark.parametrize("warmup, steps", [("10%", 15), ("0", 0), ("0%", 0), ("2.5", 12), ("29", 145)])
def test_warmup_counts_epochs_or_a_share_of_the_run(warmup, steps):
    assert Config(warmup=warmup).warmup_steps(steps_per_epoch=5) == steps


def test_bad_value_on_the_command_line_is_one_sentence_and_leaves_nothing(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["--run-dir", str(folder), "--epochs", "-1"]) == 1
    assert capsys.readouterr().err == "error: --epochs must be at least 1, got -1\n"
    assert not folder.exists()


def test_resumed_options_are_the_saved_ones_with_the_folder_given_now():
    saved = Config(seed=7, run_dir="old").as_dict()
    assert resumed_config(saved, Given({"run_dir": "new", "seed": 7})) == Config(seed=7, run_dir="new")
    assert resumed_config(saved, Given({"workers": 3})).workers == 3
    with pytest.raises(TrainerError, match="--seed 8 contradicts the checkpoint, which was made with 7"):
        resumed_config(saved, Given({"seed": 8}))
    with pytest.raises(TrainerError, match="--jitter 0.1,0.1,0.1,0 contradicts"):
        resumed_config(saved, Given({"jitter": (0.1, 0.1, 0.1, 0)}))
    del saved["epochs"]
    with pytest.raises(TrainerError, match="epochs"):
        resumed_config(saved, Given({}))


def test_another_preset_than_the_runs_is_refused_with_the_runs_own():
    saved = Config(**given_options({"preset": "cifar", "epochs": 9}).options).as_dict()
    assert resumed_config(saved, given_options({"preset": "cifar", "epochs": 9})).epochs == 9
    with pytest.raises(
        TrainerError, match="--preset imagenet sets --data .*; name --preset cifar, the run's own, to"
    ):
        resumed_config(saved, given_options({"preset": "imagenet", "data_dir": "data"}))
    with pytest.raises(
        TrainerError, match="--preset cifar sets --epochs 200, .* made with 9; leave out --preset,"
    ):
        resumed_config(saved, given_options({"preset": "cifar"}))


def test_what_is_saved_is_checked_like_a_file_of_options():
    with pytest.raises(TrainerError, match="^the saved --epochs must be a whole number, got many$"):
        saved_config(Config().as_dict() | {"epochs": "many"})


def test_a_folder_that_no_data_are_read_from_is_refused():
    with pytest.raises(
        TrainerError, match="--data digits reads no folder, and --data-dir images .* --data imagefolder"
    ):
        parse("--data-dir", "images")
    assert parse("--preset", "cifar", "--data", "digits").data_dir == ""
    with pytest.raises(TrainerError, match="reads no folder"):
        parse("--preset", "cifar", "--data", "digits", "--data-dir", "images")


def test_an_epoch_of_shards_is_imagenets_only_by_its_preset_and_said():
    given = {"data": "webdataset", "data_dir": "images", "shards": "*.tar"}
    assert "1281167 images" in given_options({"preset": "imagenet", **given}).assumed[1]
    by_name = ["preset imagenet, by its name"]
    assert given_options({"preset": "imagenet", "epoch_images": 7, **given}).assumed == by_name
    assert given_options({"preset": "imagenet"}).assumed == by_name
    with pytest.raises(TrainerError, match="--data webdataset needs --epoch-images"):
        Config(**given_options(given).options)


def run_as_a_program(*arguments):
    """Return the exit status of ``python -m bt_kernels.trainer``, which is run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["trainer", *arguments])
        patch.delenv("RANK", raising=False)
        runpy.run_module("bt_kernels.trainer", run_name="__main__")
    return stopped.value.code


def test_options_are_read_before_what_takes_seconds_to_import(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bt_kernels.trainer.cli", None)
    assert run_as_a_program("--help") == 0
    assert "--batch-size" in capsys.readouterr().out
    assert run_as_a_program("--batchsize", "3") == 2
    assert capsys.readouterr().err == "error: there is no option --batchsize; did you mean --batch-size?\n"


def test_missing_package_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    keeping_torch = f"pip install 'bt_kernels[trainer]' torch=={version('torch')}"
    assert run_as_a_program() == f"error: the trainer needs sklearn; run: {keeping_torch}"
