"""What the measurement on a GPU decides without one: cells, candidates, time budget, exit status. Its loop runs on
the CPU on tiny cells, with the eager backend in place of a GPU's."""

import json

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.__main__ import Planned, Run, TimeBudget
from benchmarks.loss import run_cell
from benchmarks.loss.targets import GPU_GOALS
from benchmarks.shared.candidates import CUDA, FLOOR, GRAPH, OURS, TRITON, applies, build_step
from benchmarks.shared.cell import Cell, make_embeddings
from benchmarks.shared.device import CpuDevice
from bt_kernels.backends import eager
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.backends.stages import Availability
from tests.support.benchmarks.gpu_fakes import CEILINGS, names_of

OK, NOT_BUILT = Availability(True, "built"), Availability(False, "nvcc was not found")


def test_the_plan_has_every_cell_once_and_the_targets_first():
    plan = gpu.plan()
    cells = [step[:3] for step in plan]
    assert len(cells) == len(set(cells))
    assert [(step.n, step.d) for step in plan[: len(GPU_GOALS)]] == list(GPU_GOALS)
    with_targets = {("tf32", 256, 8192), ("tf32", 4096, 8192), ("bfloat16", 256, 2**20)}
    assert with_targets <= set(cells[: cells.index(("bfloat16", 256, 512))])
    assert {("bfloat16", 256, 2**k) for k in range(9, 21)} <= set(cells)
    assert {("bfloat16", 2**k, 8192) for k in range(6, 14)} <= set(cells)
    assert {step.operands for step in plan} == set(gpu.DTYPES)
    assert {(step.n, step.d) for step in plan if step.compiled} == set(GPU_GOALS)
    assert plan[4].compiled == ("official_compiled",)


def test_candidates_depend_on_the_device_the_dtype_and_the_backends():
    on_gpu = Cell(8, 16, "bfloat16", "cuda")
    baselines = ["official_float32", "official", "gram", FLOOR]
    planned = Planned("bfloat16", 8, 16)
    assert gpu.names_for(planned, on_gpu, [TRITON, CUDA]) == names_of(TRITON) + names_of(CUDA) + baselines
    assert gpu.names_for(planned, on_gpu, [CUDA]) == names_of(CUDA) + baselines
    assert "gram_compiled" in gpu.names_for(Planned("bfloat16", 8, 16, ("gram_compiled",)), on_gpu, [])
    assert not applies("official_float32", Cell(8, 16, "float32", "cuda"))
    on_cpu = Cell(8, 16, "bfloat16")
    assert not any(applies(name, on_cpu) for name in (GRAPH, TRITON.graph, CUDA.graph, "official_float32"))


def test_backends_are_asked_for_by_name_and_answer_with_a_reason():
    found = gpu.available(CpuDevice(), Cell(8, 16), ["cuda"])
    assert found[TRITON] == Availability(False, "not asked for")
    assert found[CUDA] == BACKENDS["cuda"].availability(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("name, wanted", [(OURS, "as asked"), (TRITON.called, "triton"), (CUDA.called, "cuda")])
def test_a_candidate_runs_its_own_backend(name, wanted, monkeypatch):
    def loss(z_a, z_b, *, backend, formulation):
        asked.append(backend)
        return (z_a * z_b).sum()

    asked = []
    monkeypatch.setattr("benchmarks.shared.candidates.barlow_twins_loss", loss)
    cell = Cell(8, 16, backend="as asked")
    build_step(name, cell, *make_embeddings(cell))()
    assert asked == [wanted]


def test_the_graph_leaves_the_gradients_of_its_replay(monkeypatch):
    cell = Cell(8, 16, "bfloat16")

    def capture_in_name_only(call):
        outputs = [torch.full_like(output, float("nan")) for output in call()]

        def replay():
            for static, fresh in zip(outputs, call(), strict=True):
                static.copy_(fresh.detach())

        return replay, outputs

    monkeypatch.setattr("benchmarks.shared.candidates.capture", capture_in_name_only)
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
    assert budget.fits("eager", 8) and not budget.fits("compiled", 8)
    with budget.measuring("compiled", 10):
        now[0] += 20
    assert budget.fits("compiled", 10) and not budget.fits("compiled", 10, share=0.6)
    assert budget.fits("compiled", 20) and not budget.fits("compiled", 21)
    with budget.measuring("eager", 7):
        now[0] += 21
    assert budget.elapsed == 41 and not budget.fits("eager", 7) and budget.fits("eager", 6)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr("benchmarks.shared.device.CpuDevice.max_rounds", 2)
    monkeypatch.setattr("benchmarks.shared.device.last_level_cache", lambda: 1 << 20)
    monkeypatch.setattr(
        "benchmarks.loss.run_cell.peak_deltas", lambda _, cell, steps, *rest, **how: dict.fromkeys(steps, 1000)
    )
    for contender in (TRITON, CUDA):
        monkeypatch.setitem(BACKENDS, contender.backend, eager)
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
    backends = {TRITON: OK, CUDA: OK}
    return Run(Cell(0, 0, "bfloat16"), 1e9, CEILINGS, backends, result, tmp_path / "result.json")


@pytest.mark.long
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
    ratios = written["cells"][0]["ratios"]
    assert ratios[f"{TRITON.called}/roofline"]["q50"] > 0 and ratios[f"{TRITON.called}/{CUDA.called}"]["q50"] > 0
    assert gpu.finish({"bfloat16": run}, budget) == 0
    printed, said = capsys.readouterr()
    assert "N = 8, D = 16: triton " in said and ", cuda " in said
    assert "N = 8, D = 24: no time left" in printed and "measured ceilings 800 TFLOP/s, 4.00 TB/s" in printed
    assert not json.loads(run.output.read_text())["complete"]


def test_a_cell_that_breaks_leaves_the_others_and_exits_1(run, monkeypatch):
    measured = run_cell.run_cell

    def breaks_once(device, cell, *rest):
        if cell.d == 12:
            raise RuntimeError("out of memory\nmore")
        return measured(device, cell, *rest)

    monkeypatch.setattr("benchmarks.gpu.__main__.run_cell", breaks_once)
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


@pytest.mark.long
def test_a_backend_that_is_not_there_is_left_out_with_its_reason(run, capsys):
    run.backends[CUDA] = NOT_BUILT
    gpu.measure(CpuDevice(), [Planned("bfloat16", 8, 12)], {"bfloat16": run}, TimeBudget(1000))
    entries = run.result["cells"][0]["candidates"]
    assert entries[TRITON.called]["status"] == "ok" and CUDA.called not in entries
    assert gpu.finish({"bfloat16": run}, TimeBudget(1000)) == 0
    printed = capsys.readouterr().out
    assert "cuda backend: not measured, nvcc was not found" in printed
    assert "no cell was measured with both" in printed


@pytest.mark.covering(1)
@pytest.mark.parametrize("contender", [TRITON, CUDA])
@pytest.mark.parametrize("wrong", [1.1, float("nan"), None], ids=["wrong", "nan", "raises"])
def test_a_backend_that_is_there_has_to_be_right(run, contender, wrong, monkeypatch, capsys):
    build = run_cell.build_step

    def broken(name, *rest):
        step = build(name, *rest)
        if name != contender.called:
            return step
        if wrong is None:
            raise RuntimeError("no kernel image")
        return lambda: step() * wrong

    monkeypatch.setattr("benchmarks.loss.run_cell.build_step", broken)
    gpu.measure(CpuDevice(), [Planned("bfloat16", 8, 12)], {"bfloat16": run}, TimeBudget(1000))
    entries = run.result["cells"][0]["candidates"]
    assert entries[contender.called]["status"] == ("unavailable" if wrong is None else "FAIL")
    assert "ms" not in entries[contender.called]
    assert gpu.finish({"bfloat16": run}, TimeBudget(1000)) == 1
    assert ("no kernel image" if wrong is None else "FAIL") in capsys.readouterr().out


def test_nothing_measured_is_no_success(run, capsys):
    run.backends |= {TRITON: NOT_BUILT, CUDA: NOT_BUILT}
    assert gpu.finish({"bfloat16": run}, TimeBudget(1000)) == 1
    assert "triton backend: not measured" in capsys.readouterr().out
    assert not json.loads(run.output.read_text())["complete"]
