"""benchmarks.import_time: what its result file says, from processes that are made up and from real ones."""

import json
from subprocess import CalledProcessError

import pytest

from benchmarks import import_time
from benchmarks.import_time import IMPORTS, main

TIMES = {"torch": 2.0, "bt_kernels": 2.125, "bt_kernels and Triton": 2.5}


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the processes; returns what was imported, in order."""
    order = []
    by_import = {imports: TIMES[name] for name, imports in IMPORTS.items()}

    def seconds(imports):
        order.append(imports)
        return by_import[imports]

    monkeypatch.setattr(import_time, "seconds", seconds)
    return order


def test_the_result_file(tmp_path, asked, capsys):
    assert main(["--repeats", "3", "--output", str(tmp_path / "import.json")]) == 0
    result = json.loads((tmp_path / "import.json").read_text())
    assert result["benchmark"] == "import_time" and {"command", "date", "machine", "versions", "git"} <= set(
        result
    )
    assert result["samples"] == {name: [time] * 3 for name, time in TIMES.items()}
    assert result["cpu_seconds_beyond_torch"]["bt_kernels"] == dict.fromkeys(("q20", "q50", "q80"), 0.125)
    assert "bt_kernels             2.125 s, 0.125 s beyond torch" in capsys.readouterr().out
    # One of each before the clock counts; then every round begins with another.
    first, second, third = IMPORTS.values()
    assert asked[3:] == [first, second, third, second, third, first, third, first, second]


def test_too_much_is_said_by_the_exit_status(monkeypatch, asked):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(import_time, "LIMIT", 0.1)
    assert main(["--repeats", "1"]) == 1


def test_processes_import_what_they_say():
    assert import_time.seconds("import json") > 0
    with pytest.raises(CalledProcessError):
        import_time.seconds("import there_is_no_such_module")


def test_no_repeats_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--repeats", "0"])
    assert "--repeats: expected a whole number >= 1" in capsys.readouterr().err
