"""python -m benchmarks.loss, end to end on tiny cells without the compiled candidates."""

import csv
import json

import pytest

from benchmarks.loss import __main__ as loss
from benchmarks.loss import axes, run_cell
from benchmarks.shared.candidates import OURS

pytestmark = pytest.mark.usefixtures("brief_loss")


def test_writes_the_result_and_the_pictures(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / "result.json"
    arguments = ["--device", "cpu", "--n", "8", "16", "--d", "12", "24", "--output", str(output)]
    assert loss.main(arguments) == 0
    result = json.loads(output.read_text())
    assert result["complete"] and result["command"].startswith("python -m benchmarks.loss --device cpu --n 8 16")
    assert {"machine", "versions", "git", "date", "dtype", "timing", "memory"} <= set(result)
    assert [(c["n"], c["d"]) for c in result["cells"]] == [(8, 12), (8, 24), (16, 12), (16, 24)]
    for cell in result["cells"]:
        for name, entry in cell["candidates"].items():
            assert entry["status"] == "ok" and entry["ms"]["q20"] <= entry["ms"]["q50"] <= entry["ms"]["q80"]
            assert name == "floor" or entry["gradient_error"] < 1e-5
            forward = entry["forward"]
            assert forward["status"] == "ok" and forward["ms"]["q50"] > 0
            assert name == "floor" or (forward["loss_error"] < 1e-5 and forward["peak_bytes"] == 1000)
        assert cell["ratios"]["official/bt_kernels"]["q50"] > 0
        assert cell["forward_ratios"]["bt_kernels/floor"]["q50"] > 0
    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    assert len(rows) == 2 * 4 * len(result["cells"][0]["candidates"]) and rows[0]["peak_over_embeddings"]
    assert {row["passes"] for row in rows} == {"forward", "forward + backward"}
    assert (tmp_path / "result-time.png").stat().st_size > 10_000
    assert (tmp_path / "result-memory.png").stat().st_size > 10_000
    assert (tmp_path / "result-speedup.png").stat().st_size > 10_000
    assert "official/ours" in capsys.readouterr().out


def test_a_wrong_candidate_prints_fail_no_time_and_exits_1(tmp_path, monkeypatch, capsys):
    build = run_cell.build_step

    def wrong(name, cell, z_a, z_b):
        step = build(name, cell, z_a, z_b)
        return (lambda: step() * 1.01) if name == OURS else step

    monkeypatch.setattr("benchmarks.loss.run_cell.build_step", wrong)
    output = tmp_path / "result.json"
    assert loss.main(["--device", "cpu", "--n", "8", "--d", "12", "--output", str(output)]) == 1
    entry = json.loads(output.read_text())["cells"][0]["candidates"][OURS]
    assert entry["status"] == "FAIL" and "ms" not in entry
    assert "FAIL" in capsys.readouterr().out


def test_a_baseline_that_raises_is_recorded_and_the_others_are_measured(tmp_path, monkeypatch):
    build = run_cell.build_step

    def broken(name, *rest):
        if name == "official":
            raise RuntimeError("no compiler here\nmore")
        return build(name, *rest)

    monkeypatch.setattr("benchmarks.loss.run_cell.build_step", broken)
    output = tmp_path / "result.json"
    assert loss.main(["--device", "cpu", "--n", "8", "--d", "12", "--output", str(output)]) == 0
    found = json.loads(output.read_text())["cells"][0]["candidates"]
    assert found["official"] == {"status": "unavailable", "reason": "RuntimeError: no compiler here"}
    assert found[OURS]["status"] == "ok"


def test_where_nothing_can_be_built_all_of_it_is_recorded(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no library")

    monkeypatch.setattr("benchmarks.loss.run_cell.build_step", broken)
    output = tmp_path / "result.json"
    assert loss.main(["--device", "cpu", "--n", "8", "--d", "12", "--output", str(output)]) == 1
    found = json.loads(output.read_text())["cells"][0]["candidates"]
    assert {entry["status"] for entry in found.values()} == {"unavailable"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--n", "1"], "--n: expected a whole number >= 2"),
        (["--d", "0"], ">= 1"),
        (["--quick", "--n", "64"], "its own cells"),
        (["--d", "many"], ">= 1"),
        (["--dtype", "int8"], "invalid choice"),
        (["--dtype", "tf32", "--device", "cpu"], "only on a GPU"),
        (["--output", "x.txt"], ".json"),
        (["--device", "tpu"], "--device tpu"),
        (["--device", "meta"], "only cpu and cuda"),
        (["--max-memory", "-1"], "> 0"),
    ],
)
def test_bad_arguments_exit_2_with_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        loss.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_axes_and_the_map_are_measured_with_what_matters_there(tmp_path, monkeypatch):
    measured = {}

    def note(device, cell, names, *rest):
        measured[cell.n, cell.d] = set(names)
        entry = {"status": "ok", "reason": "not measured here"}
        return {
            "n": cell.n,
            "d": cell.d,
            "embeddings_bytes": cell.embeddings_bytes,
            "candidates": {name: dict(entry) for name in names},
            "ratios": {},
            "targets": [],
        }

    monkeypatch.setattr("benchmarks.loss.__main__.run_cell", note)
    monkeypatch.setattr("benchmarks.loss.in_all.run_in_all", lambda *_: {"reason": "not measured", "targets": []})
    assert loss.main(["--device", "cpu", "--output", str(tmp_path / "result.json")]) == 0
    assert list(measured) == axes.AXES == sorted(set(axes.AXES))
    assert {(256, 2**k) for k in range(9, 21)} | {(2**k, 8192) for k in range(6, 14)} <= set(measured)
    assert measured[64, 512] == {OURS, "official"} and measured[256, 1024] == axes.ON_AXES
    assert {"solo_learn", "monai", "lightly"} <= measured[256, 8192]
    assert not axes.PEERS & measured[1024, 8192] and "official" in measured[1024, 8192]


def test_a_forward_alone_that_is_wrong_gets_no_time_and_exits_1(tmp_path, monkeypatch):
    build = run_cell.build_forward

    def wrong(name, *rest):
        step = build(name, *rest)
        return (lambda: step() * 1.01) if name == OURS else step

    monkeypatch.setattr("benchmarks.loss.run_cell.build_forward", wrong)
    output = tmp_path / "result.json"
    assert loss.main(["--device", "cpu", "--n", "8", "--d", "12", "--output", str(output)]) == 1
    cell = json.loads(output.read_text())["cells"][0]
    assert cell["candidates"][OURS]["status"] == "ok" and "ms" in cell["candidates"][OURS]
    assert (
        cell["candidates"][OURS]["forward"]["status"] == "FAIL" and "ms" not in cell["candidates"][OURS]["forward"]
    )
    assert "official/bt_kernels" not in cell["forward_ratios"]
