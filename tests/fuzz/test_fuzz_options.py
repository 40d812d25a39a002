"""Command lines and files of options as people may bring them: they are a configuration, or one sentence."""

import contextlib
import dataclasses
import io
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.option import flag
from bt_kernels.trainer.config.preset_values import PRESETS
from bt_kernels.trainer.config.presets import build_parser, given_options, resumed_config, saved_config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.command import PROTOCOLS
from bt_kernels.trainer.evaluate.command import build_parser as build_evaluation_parser

NAMES = [field.name for field in dataclasses.fields(Config)]
CHOICES = sorted({choice for field in dataclasses.fields(Config) for choice in field.metadata["choices"] or ()})
TEXTS = st.one_of(
    st.integers(-3, 2**40).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", " ", "-", "--", "=", "1e400", "1_0", "٣", "10%", "1e3%", "nan%", "-1", "0x10", "512-", "0.1,nan", ",",
         "True", "none", "cuda:-1", "cuda:", "~", "*.tar", "{0..", "\0", "ä", "\udcff", "resnet5O", *CHOICES]
    ),
    st.text(max_size=6),
)  # fmt: skip
FLAGS = st.one_of(
    st.sampled_from([flag(name) for name in NAMES] + ["--no-compile", "--preset", "--resume", "--continue-from"]),
    st.sampled_from([flag(name)[:-1] for name in NAMES] + ["--no-epochs", "-e", "---", "--=", "--epochs="]),
)
WORDS = st.one_of(FLAGS, TEXTS, st.tuples(FLAGS, TEXTS).map("=".join))
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(CHOICES)
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=4), st.dictionaries(st.text(max_size=3), PLAIN, max_size=2))


def parsed(parser, arguments):
    """The options by name, or None if the parser refused them in one line or showed its help."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            return vars(parser.parse_args(arguments))
        except SystemExit as stopped:
            line = said.getvalue()
            assert stopped.code == 0 or (line.startswith("error: ") and line.endswith("\n"))
            return None


def configured(options):
    """The configuration, or None if it was refused in one sentence."""
    try:
        given = given_options(options)
        config = Config(**given.options)
    except TrainerError as error:
        assert str(error)
        return None
    assert all(given.assumed)
    # What is saved is what goes on, whoever names which preset or none.
    saved = json.loads(json.dumps(config.as_dict()))
    assert saved_config(saved) == config and resumed_config(saved, given) == config
    return config


@given(st.lists(WORDS, max_size=6))
def test_a_command_line_is_a_configuration_or_a_sentence(arguments):
    options = parsed(build_parser(arguments), arguments)
    if options is not None:
        for name in ("resume", "continue_from", "config", "allow_changed_data", "initial_weights"):
            options.pop(name, None)
        configured(options)


@given(st.sampled_from([*PROTOCOLS, "knnn"]), st.lists(WORDS, max_size=6))
def test_an_evaluations_command_line_is_options_or_a_sentence(protocol, arguments):
    options = parsed(build_evaluation_parser(), [protocol, *arguments])
    if options is not None:
        for name in ("protocol", "resume", "config", "run"):
            options.pop(name, None)
        with contextlib.suppress(TrainerError):
            PROTOCOLS[protocol].options(**options)


KINDS = {
    "int": st.integers(-2, 2**70) | st.integers(0, 300),
    "float": st.floats() | st.floats(0, 1),
    "str": TEXTS | st.sampled_from(CHOICES),
    "bool": st.booleans(),
    "tuple[float, ...]": st.lists(st.floats() | st.floats(0, 1), max_size=5),
}
OF_THEIR_KINDS = st.fixed_dictionaries({}, optional={f.name: KINDS[f.type] for f in dataclasses.fields(Config)})


@given(st.sampled_from([None, *PRESETS]), OF_THEIR_KINDS, st.sets(st.sampled_from(NAMES), max_size=3))
def test_values_of_the_right_kind_are_a_configuration_or_a_sentence(tmp_path_factory, preset, content, names):
    content = {"data_dir": "images"} | {name: value for name, value in content.items() if name in names}
    file = tmp_path_factory.getbasetemp() / "options.yaml"
    file.write_text(yaml.safe_dump(content))
    config = configured({"config": file, "preset": preset or "photographs"})
    if config is not None:
        assert 0 <= config.warmup_steps(7) < 7 * config.epochs


@given(st.dictionaries(st.one_of(st.sampled_from([*NAMES, "preset"]), st.text(max_size=6)), VALUES, max_size=4))
def test_a_file_of_options_is_a_configuration_or_a_sentence(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "options.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=False))
    configured({"config": file})


@pytest.mark.parametrize("preset", PRESETS)
@given(st.sets(st.sampled_from(NAMES)))
def test_options_that_are_given_again_contradict_nothing(preset, names):
    config = Config(**given_options({"preset": preset, "data_dir": "images" if preset != "small" else ""}).options)
    again = {name: getattr(config, name) for name in names}
    assert resumed_config(config.as_dict(), given_options(again)) == config
