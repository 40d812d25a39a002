import dataclasses
import subprocess
import sys

import pytest

from bt_kernels.trainer.cli import main
from bt_kernels.trainer.config import Config, build_parser, flag, resumed_config
from bt_kernels.trainer.errors import TrainerError


def test_help_names_every_option_its_meaning_and_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        assert flag(field.name) in text
        assert f"(default: {field.default})" in text
        assert field.metadata["help"]
    assert "--resume" in text


def test_command_line_gives_typed_values_and_only_those_given():
    given = vars(build_parser().parse_args(["--epochs", "3", "--learning-rate", "0.5"]))
    assert given == {"resume": False, "epochs": 3, "learning_rate": 0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_dir", " "),
        ("device", "tpu9"),
        ("device", "meta"),
        ("device", "cuda:99"),
        ("seed", -1),
        ("backbone", "vgg"),
        ("projector", "512-"),
        ("projector", "0"),
        ("projector", "-5"),
        ("image_size", 4),
        ("epochs", 0),
        ("epochs", -3),
        ("batch_size", 1),
        ("lambd", 0.0),
        ("lambd", float("nan")),
        ("learning_rate", -1.0),
        ("weight_decay", float("inf")),
        ("warmup_fraction", 1.0),
        ("checkpoint_every", 0),
        ("label_draws", 0),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(TrainerError, match=flag(name)):
        Config(**{name: value})


def test_bad_value_on_the_command_line_is_one_sentence_and_leaves_nothing(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["--run-dir", str(folder), "--epochs", "-1"]) == 1
    assert capsys.readouterr().err == "error: --epochs must be at least 1, got -1\n"
    assert not folder.exists()


def test_batch_larger_than_the_data_is_refused(tmp_path, capsys):
    assert main(["--run-dir", str(tmp_path), "--batch-size", "1298", "--backbone", "resnet18"]) == 1
    assert capsys.readouterr().err == "error: --batch-size 1298 is more than the 1297 training images\n"


def test_resumed_options_are_the_saved_ones_with_the_folder_given_now():
    saved = Config(seed=7, run_dir="old").as_dict()
    assert resumed_config(saved, {"run_dir": "new", "seed": 7}) == Config(seed=7, run_dir="new")
    with pytest.raises(TrainerError, match="--seed 8 contradicts the checkpoint, which was made with 7"):
        resumed_config(saved, {"seed": 8})
    del saved["epochs"]
    with pytest.raises(TrainerError, match="epochs"):
        resumed_config(saved, {})


def test_missing_package_is_one_sentence_with_the_remedy():
    program = (
        "import runpy, sys; sys.modules['sklearn'] = None; "
        "runpy.run_module('bt_kernels.trainer', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    expected = "error: the trainer needs the package sklearn; run: pip install 'bt_kernels[trainer]'\n"
    assert result.stderr == expected
