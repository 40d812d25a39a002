"""Mistyped options and values: one line, with what was probably meant, on every command line of the trainer."""

import pytest

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import build_parser
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.command import build_parser as build_evaluation_parser
from bt_kernels.trainer.report.__main__ import main as report


def train(*arguments):
    build_parser(arguments).parse_args(arguments)


def evaluate(*arguments):
    build_evaluation_parser().parse_args(arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        (train, "--batchsize 3", "there is no option --batchsize; did you mean --batch-size?"),
        (train, "--lamda=3", "there is no option --lamda; did you mean --lambd?"),
        (train, "--no-tensorbord", "there is no option --no-tensorbord; did you mean --no-tensorboard?"),
        (train, "--zzz", "there is no option --zzz; --help names them all"),
        (train, "--epochs 3 imagenet", "imagenet belongs to no option; --help names them all"),
        (
            train,
            "--stem smal",
            "--stem must be one of imagenet, small, got 'smal'; did you mean small?",
        ),
        (train, "--resume alwys", "--resume must be one of always, auto, got 'alwys'; did you mean always?"),
        (train, "--epochs ten", "argument --epochs: invalid int value: 'ten'"),
        (evaluate, "knn --neighbors 3", "there is no option --neighbors; did you mean --neighbours?"),
        (
            evaluate,
            "linaer",
            "protocol must be one of knn, linear, semi-supervised, got 'linaer'; did you mean linear?",
        ),
        (
            evaluate,
            "semi-supervised --decay cosin",
            "--decay must be one of cosine, steps, got 'cosin'; did you mean cosine?",
        ),
        (lambda *given: report(given), "runs/a --ouput b", "there is no option --ouput; did you mean --output?"),
    ],
)
def test_what_is_mistyped_is_one_line_with_what_was_meant(command, arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(*arguments.split())
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_a_mistyped_preset_is_one_line(capsys):
    with pytest.raises(SystemExit):
        train("--preset", "imagnet")
    said = capsys.readouterr().err
    assert said.endswith("imagenet, got 'imagnet'; did you mean imagenet?\n") and said.count("\n") == 1


def test_a_mistyped_value_of_a_file_has_the_same_sentence():
    with pytest.raises(
        TrainerError, match="^--optimizer must be one of lars, sgd, adamw, .*; did you mean adamw?"
    ):
        Config(optimizer="adam")
