"""python -m benchmarks, the index; and what all commands' --help has: the same words for the same option."""

import importlib
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as index

ROOT = Path(__file__).parents[2]


def help_of(name: str, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        index.main([name, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_the_index_has_every_command_in_a_sentence(capsys):
    assert index.main([]) == index.main(["--help"]) == 0
    shown = capsys.readouterr().out
    folders = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__main__.py")}
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "__main__"}
    assert folders == set(index.FOLDERS) and folders | files == set(index.COMMANDS)
    assert all(re.search(rf"^  {name} +[A-Z]", shown, re.MULTILINE) for name in index.COMMANDS)


def test_a_command_that_is_not_there_is_one_line(capsys):
    assert index.main(["lost"]) == 2
    assert "'lost'" in capsys.readouterr().err


@pytest.mark.parametrize("name", index.COMMANDS)
def test_the_help_says_how_it_is_called_and_what_its_statuses_are(name, capsys):
    pytest.importorskip("matplotlib")
    text = help_of(name, capsys)
    assert text.startswith(f"usage: python -m benchmarks.{name} ") and "Exit status: 0 " in text
    assert "(default: )" not in text and "(default: None)" not in text and "==SUPPRESS==" not in text
    options = re.split(r"\n  (?=--)", text.split("\noptions:\n", 1)[1].split("\nexamples:")[0])[1:]
    assert all(re.search(r"\s{2,}[a-zA-Z]|\n +\S", option) for option in options), "an option without words"


def test_one_thing_has_one_name_in_all_commands(capsys, monkeypatch):
    """And one name is one thing: the words before the choices and the default are the same."""
    monkeypatch.setenv("COLUMNS", "500")
    by_option: dict[str, set[str]] = {}
    for name in index.COMMANDS:
        text = help_of(name, capsys).split("\noptions:\n", 1)[1].split("\nexamples:")[0]
        for option, words in re.findall(r"^  --([\w-]+)[^\n]*?\s{2,}(\S[^\n]*)$", text, re.MULTILINE):
            by_option.setdefault(option, set()).add(re.split(r"[:,(]", words)[0].strip())
    shared = ("n", "d", "dtype", "backend", "threads")
    assert {name: len(by_option[name]) for name in shared} == dict.fromkeys(shared, 1), by_option
    assert not {"operands", "shapes", "batch", "memory", "features", "backends", "rounds", "json"} & set(by_option)
    assert {"max-memory", "repeats", "output", "device", "seconds", "report"} <= set(by_option)


def test_a_command_can_be_run_by_either_name(capsys):
    with pytest.raises(SystemExit):
        importlib.import_module("benchmarks.loss.__main__").main(["--n", "1"])
    said = capsys.readouterr().err
    with pytest.raises(SystemExit):
        index.main(["loss", "--n", "1"])
    assert capsys.readouterr().err == said and "argument --n: expected a whole number >= 2" in said
