"""What the measurement on a GPU decides without one: cells, time budget, roofline, targets, columns. On tiny cells its
loop runs on the CPU."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, plot, profile_gpu, result_file, roofline, run_cell, table
from benchmarks.candidates import CANDIDATES, FLOOR, GRAPH, OURS, applies, build_step
from benchmarks.cell import Cell, make_embeddings
from benchmarks.device import CpuDevice
from benchmarks.gpu import Planned, Run, TimeBudget
from benchmarks.roofline import Ceilings
from benchmarks.targets import GPU_GOALS, GPU_TARGETS, TARGETS, targets_for, verdicts

ROOT = Path(__file__).parents[2]
GPU_NAMES = [name for name in CANDIDATES if name != "solo_learn"]
CEILINGS = Ceilings(800e12, 4e12)


def test_the_plan_has_every_cell_once_and_the_targets_first():
    plan = gpu.plan()
    cells = [step[:3] for step in plan]
    assert len(cells) == len(set(cells))
    assert [(step.n, step.d) for step in plan[: len(GPU_GOALS)]] == list(GPU_GOALS)
    assert {("bfloat16", 256, 2**k) for k in range(9, 21)} <= set(cells)
    assert {("bfloat16", 2**k, 8192) for k in range(6, 14)} <= set(cells)
    assert {step.operands for step in plan} == set(gpu.SETTINGS)
    assert {(step.n, step.d) for step in plan if step.compiled} == set(GPU_GOALS)
    assert plan[4].compiled == ("official_compiled",)


def test_candidates_depend_on_the_device_and_the_dtype():
    on_gpu = Cell(8, 16, "bfloat16", "cuda")
    eager = [OURS, GRAPH, "official_float32", "official", "gram", FLOOR]
    assert gpu.names_for(Planned("bfloat16", 8, 16), on_gpu) == eager
    assert "gram_compiled" in gpu.names_for(Planned("bfloat16", 8, 16, ("gram_compiled",)), on_gpu)
    assert not applies("official_float32", Cell(8, 16, "float32", "cuda"))
    assert not any(applies(name, Cell(8, 16, "bfloat16")) for name in (GRAPH, "official_float32"))


def test_the_graph_leaves_the_gradients_of_its_replay(monkeypatch):
    cell = Cell(8, 16, "bfloat16")

    def capture_in_name_only(call):
        outputs = [torch.full_like(output, float("nan")) for output in call()]

        def replay():
            for static, fresh in zip(outputs, call(), strict=True):
                static.copy_(fresh.detach())

        return replay, outputs

    monkeypatch.setattr("benchmarks.candidates.capture", capture_in_name_only)
    views, expected = make_embeddings(cell), make_embeddings(cell)
    graph, ours = build_step(GRAPH, cell, *views), build_step(OURS, cell, *expected)
    for _ in range(2):
        for z in (*views, *expected):
            z.grad = None
        assert torch.equal(graph(), ours())
        assert all(torch.equal(z.grad, want.grad) for z, want in zip(views, expected, strict=True))


def test_the_budget_refuses_what_would_end_too_late():
    now = [100.0]
    budget = TimeBudget(60, clock=lambda: now[0])
    assert budget.fits("eager") and not budget.fits("compiled")
    with budget.measuring("compiled"):
        now[0] += 20
    assert budget.fits("compiled") and not budget.fits("compiled", share=0.6)
    with budget.measuring("eager"):
        now[0] += 21
    assert budget.elapsed == 41 and not budget.fits("eager")


def test_the_roofline_is_the_slower_of_arithmetic_and_memory():
    found = roofline.roofline(Cell(256, 8192, "bfloat16", "cuda"), CEILINGS)
    assert (found.flops, found.bytes, found.bound) == (6 * 256**2 * 8192, 8 * 256 * 8192, "memory")
    assert found.ms == pytest.approx(1e3 * 8 * 256 * 8192 / 4e12)
    tall = roofline.roofline(Cell(8192, 4096, "float32", "cuda"), CEILINGS)
    assert (tall.flops, tall.bytes, tall.bound) == (6 * 8192 * 4096**2, 16 * 8192 * 4096, "arithmetic")
    assert tall.ms == pytest.approx(1e3 * tall.flops / 800e12)


def test_times_are_compared_with_the_roofline_and_with_both_ways_of_calling():
    samples = {OURS: [2e-3, 2e-3], GRAPH: [1e-3, 1e-3], "official": [8e-3, 8e-3], FLOOR: [5e-4, 5e-4]}
    result = {"candidates": {name: {} for name in samples}, "ratios": {}}
    run_cell.add_times(result, samples)
    run_cell.add_roofline(result, roofline.Roofline(1, 1, 0.25, "memory"))
    ratios = {key: value["q50"] for key, value in result["ratios"].items()}
    assert ratios == pytest.approx(
        {
            "official/bt_kernels": 4,
            "official/bt_kernels_graph": 8,
            "bt_kernels/floor": 4,
            "bt_kernels_graph/floor": 2,
            "bt_kernels/roofline": 8,
            "bt_kernels_graph/roofline": 4,
        }
    )


def gpu_cell(n: int, d: int, judged: str, **ratios: float) -> dict:
    """As run_cell reports it; ratios of, or to, the judged candidate."""
    names = (OURS, GRAPH, "official")
    entries = {name: {"status": "ok", "ms": {"q20": 1.0, "q50": 1.5, "q80": 2.0}} for name in names}
    entries[OURS]["peak_bytes"] = 8 * n * d
    keys = {key: f"{judged}/{key}" if key in ("roofline", FLOOR) else f"{key}/{judged}" for key in ratios}
    return {
        "n": n,
        "d": d,
        "embeddings_bytes": 4 * n * d,
        "candidates": entries,
        "ratios": {keys[key]: {"q20": value, "q50": value, "q80": value} for key, value in ratios.items()},
        "roofline": roofline.roofline(Cell(n, d, "bfloat16", "cuda"), CEILINGS)._asdict(),
        "targets": [],
    }


def test_targets_on_a_gpu():
    small = gpu_cell(256, 8192, GRAPH, official_float32=61, official_compiled=19, gram_compiled=2.1, roofline=5)
    found = {v["key"]: v["met"] for v in verdicts(small, GPU_TARGETS)}
    assert found == {
        "official_float32": True, "official_compiled": False, "gram_compiled": True, "roofline": True, "memory": True
    }  # fmt: skip
    as_called = gpu_cell(256, 8192, OURS, official_float32=61, roofline=5)
    assert [v["key"] for v in verdicts(as_called, GPU_TARGETS)] == ["memory"]
    large = gpu_cell(8192, 4096, OURS, official_float32=5, official_compiled=2, gram_compiled=1, roofline=1.8)
    assert [v["met"] for v in verdicts(large, GPU_TARGETS)] == [False, True, False, True]
    assert targets_for(Cell(256, 8192, "bfloat16", "cuda:1")) is GPU_TARGETS
    assert targets_for(Cell(256, 8192, "float32", "cuda")) == ()
    assert targets_for(Cell(256, 8192)) is TARGETS


def test_the_table_says_who_is_judged_and_marks_it():
    cell = gpu_cell(256, 8192, GRAPH, official_float32=61, official_compiled=19, roofline=5)
    cell["targets"] = verdicts(cell, GPU_TARGETS)
    title, line = table.header(GPU_NAMES).splitlines()[1], table.row(cell, GPU_NAMES)
    assert len(title) == len(line) and "*/roofline" in title
    assert "graph" in line and "61x ok" in line and "19x MISS" in line and "5x ok" in line
    assert table.judged_in(gpu_cell(8192, 4096, OURS), GPU_NAMES) == OURS
    assert "*" not in table.header([OURS, "official", FLOOR])


def test_the_csv_has_the_roofline(tmp_path):
    result_file.write(tmp_path / "r.json", {"cells": [gpu_cell(256, 8192, GRAPH, roofline=5)]})
    rows = {row["candidate"]: row for row in csv.DictReader((tmp_path / "r.csv").open())}
    assert float(rows[GRAPH]["over_roofline"]) == 5 and rows["official"]["over_roofline"] == ""
    assert float(rows[OURS]["roofline_ms"]) == pytest.approx(0.0041943)


RESULTS = sorted((ROOT / "benchmarks" / "results").glob("loss-*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_still_make_tables(path, tmp_path):
    result = result_file.read(path)
    names = [name for name in CANDIDATES if any(name in cell["candidates"] for cell in result["cells"])]
    rows = [table.row(cell, names) for cell in result["cells"]]
    assert all(len(row) == len(table.header(names).splitlines()[1]) for row in rows)
    table.empty_lines(result["cells"]), table.target_lines([*result["cells"], result.get("in_all", {})])
    result_file.write(tmp_path / "copy.json", result)


def test_results_with_and_without_a_roofline_make_plots(tmp_path):
    pytest.importorskip("matplotlib")
    old = result_file.read(ROOT / "benchmarks/results/loss-amd-epyc-2-threads-n2048.json")
    new = {**old, "cells": [gpu_cell(256, d, GRAPH, roofline=5) for d in (4096, 1024, 2048)]}
    for name, result in (("old", old), ("new", new)):
        assert len(plot.draw(result, tmp_path / f"{name}.json")) == 2
    [*_, (label, _, d, ms)] = plot.time_curves(sorted(new["cells"], key=lambda cell: cell["d"]))
    assert (label, d) == ("roofline", [1024, 2048, 4096]) and ms == sorted(ms)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr("benchmarks.device.CpuDevice.max_rounds", 2)
    monkeypatch.setattr("benchmarks.device.last_level_cache", lambda: 1 << 20)
    monkeypatch.setattr(
        "benchmarks.run_cell.peak_deltas", lambda _, cell, steps, *rest: dict.fromkeys(steps, 1000)
    )
    machine = {"device": "a CPU", "cpu": "a CPU", "threads": 1}
    result = {
        "benchmark": "loss",
        "complete": False,
        "dtype": "bfloat16",
        "cells": [],
        "errors": [],
        "not_measured": [],
    }
    result |= {"machine": machine, "versions": {"torch": "2", "bt_kernels_backend": "eager"}}
    return Run(Cell(0, 0, "bfloat16"), 1e9, CEILINGS, result, tmp_path / "result.json")


def test_the_loop_writes_every_cell_and_says_what_it_left_out(run, capsys):
    now = [0.0]
    budget = TimeBudget(100, clock=lambda: now.__setitem__(0, now[0] + 10) or now[0])
    compiled = Planned("bfloat16", 8, 12, ("official_compiled", "gram_compiled"))
    steps = [compiled, *(Planned("bfloat16", 8, d) for d in (16, 24, 32))]
    gpu.measure(CpuDevice(), steps, {"bfloat16": run}, budget)
    written = json.loads(run.output.read_text())
    assert [cell["d"] for cell in written["cells"]] == [12, 16] and not written["complete"]
    assert written["not_measured"] == [[8, 24], [8, 32]]
    first = written["cells"][0]["candidates"]
    assert first["official"]["status"] == "ok" and "no time left" in first["gram_compiled"]["reason"]
    assert written["cells"][0]["ratios"]["bt_kernels/roofline"]["q50"] > 0
    assert gpu.finish({"bfloat16": run}, budget) == 0
    printed = capsys.readouterr().out
    assert "N = 8, D = 24: no time left" in printed and "measured ceilings 800 TFLOP/s, 4.00 TB/s" in printed
    assert not json.loads(run.output.read_text())["complete"]


def test_a_cell_that_breaks_leaves_the_others_and_exits_1(run, monkeypatch):
    measured = run_cell.run_cell

    def breaks_once(device, cell, *rest):
        if cell.d == 12:
            raise RuntimeError("out of memory\nmore")
        return measured(device, cell, *rest)

    monkeypatch.setattr("benchmarks.gpu.run_cell", breaks_once)
    budget = TimeBudget(1000)
    gpu.measure(CpuDevice(), [Planned("bfloat16", 8, d) for d in (12, 16)], {"bfloat16": run}, budget)
    assert [cell["d"] for cell in run.result["cells"]] == [16]
    assert run.result["errors"] == [{"n": 8, "d": 12, "error": "RuntimeError: out of memory"}]
    assert gpu.finish({"bfloat16": run}, budget) == 1


def test_it_says_so_where_there_is_no_gpu(capsys):
    with pytest.raises(SystemExit) as stop:
        gpu.main(["--device", "cpu"])
    assert stop.value.code == 2
    assert "benchmarks.loss" in capsys.readouterr().err


def test_the_profile_compares_each_kernel_with_its_own_floor():
    cell = Cell(1024, 8192, "bfloat16", "cuda")
    work = profile_gpu.expected_work(cell, partial_bytes=1000)
    assert work["gram_tiles"].flops + work["gram_product"].flops == 6 * 1024**2 * 8192
    assert work["gram_tiles"].bytes == cell.embeddings_bytes + 1000
    times = {"gram_tiles_kernel": [40.0, 60.0], "fill": [1.0, 1.0]}
    first, second = profile_gpu.report(times, work, CEILINGS, calls=2)
    assert first["us"] == 50 and first["fraction"] == pytest.approx(1e6 * 2 * 1024**2 * 8192 / 800e12 / 50)
    assert second == {"kernel": "fill", "launches": 1, "us": 1}
    assert len(profile_gpu.line(second)) < len(profile_gpu.line(first))
    tall = profile_gpu.expected_work(Cell(8192, 4096, "bfloat16", "cuda"), 0)
    assert sum(item.flops for item in tall.values()) == 6 * 8192 * 4096**2


def test_the_tuner_tries_rows_and_says_why_one_was_refused():
    """In a process of its own: Triton's interpreter has to be chosen before the kernels are imported."""
    pytest.importorskip("triton")
    code = """
from benchmarks import device, tune_triton
from bt_kernels.backends.triton.heuristics import Tile
rows = [Tile(32, 32, 16, 4, 2), Tile(48, 48, 16, 4, 2)]  # the second is no power of two
tune_triton.candidate_rows = lambda *_: rows
tune_triton.ROUNDS = device.CpuDevice.max_rounds = 1
def fake_time(self, call):
    call()
    return 1e-3
device.CpuDevice.time = fake_time
tune_triton.main("--kernel gram_tiles --n 20 --d 24 --dtype float32 --device cpu".split())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1000.0  Tile(m=32, n=32, k=16, warps=4, stages=2)" in done.stdout
    assert "<- the table's" in done.stdout
    assert "Tile(m=48, n=48, k=16, warps=4, stages=2): " in done.stdout
