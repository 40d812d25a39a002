"""The files that the benchmarks' commands read and write: absolute, relative, and with ~ for the home folder."""

import json

import pytest

from benchmarks import compare, plot
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.loss import __main__ as loss
from benchmarks.paper import __main__ as paper
from benchmarks.step import __main__ as step
from tests.support.benchmarks.loss_results import loss_result


@pytest.fixture(params=["absolute", "relative", "home"])
def written(request, tmp_path, monkeypatch):
    """Returns what a user writes for a file in a folder."""
    (tmp_path / "my results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = {"absolute": f"{tmp_path}/", "relative": "", "home": "~/"}[request.param]
    return lambda name: f"{before}my results/{name}"


@pytest.mark.long
def test_results_and_pictures(tmp_path, written, brief_loss, monkeypatch):
    folder = tmp_path / "my results"
    for command in ("benchmarks.plot", "benchmarks.loss.__main__"):
        monkeypatch.setattr(f"{command}.draw", lambda result, output, *source: [output])
    output = written("small.json")
    assert loss.main(["--device", "cpu", "--n", "8", "--d", "12", f"--output={output}"]) == 0
    assert (folder / "small.json").exists() and (folder / "small.csv").exists()
    (folder / "made up.json").write_text(json.dumps(loss_result()))
    assert compare.main([written("made up.json")] * 2) == 0
    assert plot.main([written("made up.json"), f"--output={written('')}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my results"]


@pytest.mark.parametrize("command", [accuracy, loss, paper, step])
def test_a_result_of_another_ending_is_refused(command, capsys):
    with pytest.raises(SystemExit):
        command.main(["--output", "result.md"])
    assert "--output: expected a name that ends in .json, got result.md" in capsys.readouterr().err
