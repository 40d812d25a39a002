"""python -m benchmarks.distributed: the model by hand, a run over two processes, what is wrong gets no time."""

import json

import pytest

from benchmarks.distributed import __main__ as distributed
from benchmarks.distributed import model as distributed_model
from benchmarks.distributed import table as distributed_table
from benchmarks.distributed.candidates import OFFICIAL, OTHER, OURS, does_not_fit, gradient_scale
from benchmarks.distributed.rank import AGREEMENT
from benchmarks.shared.cell import Cell


def test_the_model_in_the_papers_setting():
    """2048 samples over 32 ranks, D = 8192, bfloat16."""
    row = distributed_model.setting(32, 8192)
    assert row["auto"] == "gram" and row["n"] == 2048
    c = 2 * 8192 * 8192 * 31 / 32  # numbers that an all-reduce of C sends
    statistics = 2 * (31 * (2 * 8192 + 1) + 2 * 2 * 8192 * 31 / 32) * 4
    assert row["bytes"]["official"] == 2 * c + statistics == 264_364_280
    assert row["bytes"]["official_float32"] == 4 * c + statistics
    embeddings, triangles = 4 * 64 * 8192 * 2 * 31 / 32, 2 * 2048 * 2049 * 4 * 31 / 32
    assert row["bytes"]["ours"] == row["bytes"]["gram"] == pytest.approx(embeddings + triangles, abs=100)
    assert row["ms_on_the_wire"]["between machines"]["official"] == pytest.approx(10.57, abs=0.01)
    assert row["ms_of_flops"]["official"] == pytest.approx(1e3 * 6 * 64 * 8192**2 / 400e12)
    assert row["ms_of_flops"]["ours"] == pytest.approx(1e3 * 6 * 2048**2 * 256 / 400e12)
    assert row["matrix_bytes"] == {"official": 2 * 8192**2, "ours": 2 * 2048**2 * 4 + 2 * 2048 * 256 * 2}


def test_the_model_where_there_are_more_samples_than_features():
    """There ours takes C in float32, where the official way sends 16 bits: it must not look better than it is."""
    row = distributed_model.setting(1024, 8192)
    assert row["auto"] == "correlation" and row["bytes"]["ours"] > row["bytes"]["official"]
    assert row["matrix_bytes"]["ours"] == 4 * 8192**2


def test_the_model_is_written_as_such(tmp_path, capsys):
    output = tmp_path / "model.json"
    assert distributed.main(["--model", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["measured"] is False and result["assumptions"] and len(result["settings"]) == 12
    printed = capsys.readouterr().out
    assert printed.startswith("Modelled, not measured.") and "400 TFLOP/s" in printed


@pytest.mark.long
def test_a_run_over_two_processes(tmp_path, capsys):
    """In float64: to ten digits the official way's gradient is the joined batch's own, and ours W times that."""
    output = tmp_path / "result.json"
    arguments = "--world 2 --rows 8 --d 9 33 --dtype float64 --backend eager --repeats 2".split()
    assert distributed.main([*arguments, "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["complete"]
    assert result["command"].startswith("python -m benchmarks.distributed --world 2 --rows 8 --d 9 33")
    assert {"machine", "versions", "git", "date", "timing", "sent"} <= set(result)
    assert [(c["world"], c["rows"], c["n"], c["d"]) for c in result["cells"]] == [(2, 8, 16, 9), (2, 8, 16, 33)]
    assert [c["candidates"][OURS]["formulation"] for c in result["cells"]] == ["correlation", "gram"]
    for cell in result["cells"]:
        assert list(cell["candidates"]) == [OURS, OTHER, OFFICIAL]
        for entry in cell["candidates"].values():
            assert entry["status"] == "ok" and entry["same_loss_on_every_rank"] and len(entry["samples_ms"]) == 2
            assert entry["loss_error"] < 1e-12 and entry["gradient_error"] < 1e-10
            assert distributed_table.as_modelled(entry)
        assert cell[AGREEMENT]["ms"]["q50"] > 0 and cell["ratios"][f"{OFFICIAL}/{OURS}"]["q50"] > 0
    assert "modelled" not in capsys.readouterr().out
    assert [gradient_scale(name, Cell(16, 9, "float64"), 2) for name in (OURS, OTHER, OFFICIAL)] == [2, 2, 1]


def cell_report(wrong: bool) -> dict:
    def entry(sent: float, milliseconds: float) -> dict:
        counts = {"sent_bytes": sent, "modelled_bytes": sent - 1512, "agreement_bytes": 1512}
        found = {"loss_error": 0.0, "gradient_error": 0.5, "same_loss_on_every_rank": True}
        return {"status": "ok", "formulation": "gram", "ms": {"q50": milliseconds}, **counts, **found}

    candidates = {OURS: entry(7e6, 20.0), OTHER: entry(400e6, 900.0), OFFICIAL: entry(403e6, 1000.0)}
    ratios = {f"{OFFICIAL}/{OURS}": {"q50": 50.0}, f"{AGREEMENT}/{OURS}": {"q50": 0.1}}
    if wrong:
        candidates[OURS]["status"] = "FAIL"
        del candidates[OURS]["ms"]
        ratios = {}
    shape = {"world": 4, "rows": 64, "n": 256, "d": 8192, "dtype": "float32", "wire": "gloo"}
    return {**shape, "candidates": candidates, "ratios": ratios}


@pytest.mark.parametrize("wrong", [False, True])
def test_what_is_wrong_prints_fail_and_exits_1(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distributed, "run_job", lambda job: [cell_report(wrong)])
    arguments = ["--world", "4", "--rows", "64", "--d", "8192", "--output", str(tmp_path / "result.json")]
    assert distributed.main(arguments) == int(wrong)
    printed = capsys.readouterr().out
    assert ("FAIL" in printed) is wrong and ("relative errors loss 0.0e+00, gradient 5.0e-01" in printed) is wrong
    assert "ok   at least 10x fewer bytes on the wire" in printed
    assert ("ok   at least 5x less time" in printed) is not wrong


def test_on_a_cpu_all_ranks_share_the_memory():
    cell = Cell(256, 8192)
    assert does_not_fit(OURS, cell, 4, 1e9) is None
    assert "does not fit" in does_not_fit(OFFICIAL, cell, 4, 5e9)
    assert does_not_fit(OFFICIAL, Cell(256, 8192, device="cuda"), 4, 5e9) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--world", "1"], "--world: expected a whole number >= 2"),
        (["--rows", "8"], "both or neither"),
        (["--quick", "--world", "2"], "its own cells"),
        (["--model", "--repeats", "3"], "measures nothing"),
        (["--output", "x.txt"], ".json"),
        (["--backend", "triton"], "triton"),
    ],
    ids=str,
)
def test_bad_arguments_exit_2_with_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        distributed.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
