"""What a measurement on a GPU is held to and how it is shown: ratios, targets, tables, the faster backend."""

import csv
from pathlib import Path

import pytest

from benchmarks.gpu import choice
from benchmarks.loss import run_cell, table
from benchmarks.loss.targets import GPU_TARGETS, TARGETS, targets_for, verdicts
from benchmarks.shared import result_file, roofline
from benchmarks.shared.candidates import AS_ASKED, CANDIDATES, CUDA, FLOOR, GRAPH, OURS, TRITON
from benchmarks.shared.cell import Cell
from tests.support.benchmarks.gpu_fakes import (
    BASELINES,
    CEILINGS,
    GPU_NAMES,
    H100,
    H200,
    cell_of_both,
    gpu_cell,
    names_of,
    quantiles,
    times,
)

ROOT = Path(__file__).parents[2]


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


def test_backends_are_compared_with_each_other_in_the_same_way_of_calling():
    samples = {TRITON.called: [6e-3], TRITON.graph: [3e-3], CUDA.called: [4e-3], CUDA.graph: [1e-3]}
    result = {"candidates": {name: {} for name in samples}, "ratios": {}}
    run_cell.add_times(result, samples)
    run_cell.add_roofline(result, roofline.Roofline(1, 1, 0.5, "memory"))
    ratios = {key: value["q50"] for key, value in result["ratios"].items()}
    assert ratios[f"{TRITON.called}/{CUDA.called}"] == pytest.approx(1.5)
    assert ratios[f"{TRITON.graph}/{CUDA.graph}"] == pytest.approx(3)
    assert ratios[f"{CUDA.graph}/roofline"] == pytest.approx(2)
    assert len(ratios) == 6


def bfloat16_targets(device: str = H200):
    return targets_for(Cell(256, 8192, "bfloat16", "cuda:1"), device)


def test_targets_on_a_gpu():
    targets = bfloat16_targets()
    small = gpu_cell(256, 8192, GRAPH, official_float32=61, official_compiled=19, gram_compiled=2.1, roofline=5)
    found = {v["key"]: v["met"] for v in verdicts(small, targets)}
    assert found == {
        "official_float32": True,
        "official_compiled": False,
        "gram_compiled": True,
        "roofline": True,
        "memory": True,
    }
    as_called = gpu_cell(256, 8192, OURS, official_float32=61, roofline=5)
    assert [v["key"] for v in verdicts(as_called, targets)] == ["memory"]
    large = gpu_cell(8192, 4096, OURS, official_float32=5, official_compiled=2, gram_compiled=1, roofline=1.8)
    assert [v["met"] for v in verdicts(large, targets)] == [False, True, False, True]
    triton = gpu_cell(8192, 4096, TRITON.called, official_float32=5, official_compiled=2, roofline=1.8)
    assert [v["met"] for v in verdicts(triton, targets)] == [False, True, False, True]
    assert all(v["text"].startswith("triton: ") for v in verdicts(triton, targets))
    assert targets_for(Cell(256, 8192), "a CPU") is TARGETS
    assert targets_for(Cell(256, 8192, "float16", "cuda"), H200) == tuple(t for t in GPU_TARGETS if not t.operands)


def judged(cell: dict, operands: str, device: str = H200) -> dict[str, bool]:
    """By the target's text, without the backend's name before it."""
    settings = {"dtype": "float32", "precision": "tf32"} if operands == "tf32" else {"dtype": operands}
    targets = targets_for(Cell(cell["n"], cell["d"], device="cuda", **settings), device)
    return {
        v["text"].removeprefix("cuda: "): v["met"]
        for v in verdicts(cell, targets)
        if v["judged"] in names_of(CUDA)
    }


MEMORY = "peak-memory delta at most 3x the embeddings + 8 MiB"


def test_an_absolute_time_is_judged_on_the_gpu_that_it_is_meant_for():
    cell = gpu_cell(256, 8192, CUDA.graph, triton=1.2, roofline=7)
    text = "at most 25 us at N = 256, D = 8192 on an H200, in a CUDA graph"
    faster = "faster than triton, in a CUDA graph"
    for ms, met in ((0.0249, True), (0.0251, False)):
        cell["candidates"][CUDA.graph] = times(ms)
        assert judged(cell, "bfloat16") == {text: met, faster: True, MEMORY: True}
    assert judged(cell, "bfloat16", H100) == {faster: True, MEMORY: True}
    cell["targets"] = verdicts(cell, bfloat16_targets())
    assert any(line.endswith("missed at (256, 8192): 25.1 us") for line in table.target_lines([cell]))


@pytest.mark.parametrize(
    "n, d, who, operands, ratios, expected",
    [
        (1024, 8192, CUDA.graph, "bfloat16", {"roofline": 1.71}, {"at most 1.7x the roofline at N = 1024": False}),
        (1024, 8192, CUDA.called, "bfloat16", {"roofline": 1.6}, {}),
        (512, 8192, CUDA.graph, "bfloat16", {"roofline": 9, "triton": 0.99}, {"faster than triton": False}),
        (2048, 8192, CUDA.called, "bfloat16", {"roofline": 1.4}, {"at most 1.4x the roofline, N >= 2048": True}),
        (8192, 8192, CUDA.called, "bfloat16", {"roofline": 1.5, "triton": 2},
         {"at most 1.4x the roofline, N >= 2048": False, "faster than triton": True}),
        (4096, 8192, CUDA.called, "tf32", {"roofline": 1.6}, {"at most 1.6x the roofline of tf32": True}),
        (256, 8192, CUDA.graph, "tf32", {"roofline": 1.7}, {"at most 1.6x the roofline of tf32": False}),
        (4096, 8192, CUDA.called, "float32", {"roofline": 9, "triton": 1.1}, {"faster than triton": True}),
    ],
)  # fmt: skip
def test_targets_of_the_cuda_backend(n, d, who, operands, ratios, expected):
    cell = gpu_cell(n, d, who, **ratios)
    found = {text: met for text, met in judged(cell, operands, H100).items() if text != MEMORY}
    assert len(found) == len(expected)
    for start, met in expected.items():
        assert [found[text] for text in found if text.startswith(start)] == [met]


def test_the_largest_cell_has_six_gigabytes_for_everything():
    cell = gpu_cell(256, 1 << 20, CUDA.called)
    text = "within 6 GB, embeddings included, at N = 256, D = 1048576"
    for peak, met in ((6e9 - cell["embeddings_bytes"], True), (6e9, False)):
        cell["candidates"][CUDA.called]["peak_bytes"] = peak
        assert judged(cell, "bfloat16")[text] == met
    assert text not in judged(cell, "tf32")


def test_the_table_says_who_is_judged_and_marks_it():
    cell = gpu_cell(256, 8192, TRITON.graph, official_float32=61, official_compiled=19, roofline=5)
    cell["targets"] = verdicts(cell, bfloat16_targets())
    columns = table.columns(GPU_NAMES, TRITON)
    title, line = table.header(columns).splitlines()[1], table.row(cell, columns)
    assert len(title) == len(line) and "*/roofline" in title and "triton/*" not in title
    assert "tr.graph" in line and "61x ok" in line and "19x MISS" in line and "5x ok" in line
    assert columns.judged(gpu_cell(8192, 4096, TRITON.called)) == TRITON.called
    assert "*" not in table.header(table.columns([OURS, "official", FLOOR]))


def test_the_cuda_backend_has_a_table_of_its_own():
    cell = gpu_cell(256, 8192, CUDA.graph, triton=0.9, official_float32=50, roofline=9)
    cell["candidates"][CUDA.graph] = times(0.026)
    cell["targets"] = verdicts(cell, bfloat16_targets())
    columns = table.columns(GPU_NAMES, CUDA, baselines=False)
    title, line = table.header(columns).splitlines()[1], table.row(cell, columns)
    assert len(title) == len(line) and "triton/*" in title and "gramcomp/*" in title
    assert columns.names == names_of(CUDA) and table.columns(GPU_NAMES, CUDA).names == names_of(CUDA) + BASELINES
    assert "cu.graph MISS" in line and "0.9x MISS" in line and "9x " in line and "50x " in line
    without = [name for name in GPU_NAMES if CANDIDATES[name].contender != TRITON]
    assert "triton/*" not in table.header(table.columns(without, CUDA))


def test_the_csv_has_the_roofline_and_the_other_backend(tmp_path):
    cell = cell_of_both(256, 8192, ratio=1.25)
    cell["ratios"] |= {f"{CUDA.graph}/roofline": quantiles(5), f"official/{CUDA.called}": quantiles(7)}
    result_file.write(tmp_path / "r.json", {"cells": [cell]})
    rows = {row["candidate"]: row for row in csv.DictReader((tmp_path / "r.csv").open())}
    assert float(rows[CUDA.graph]["over_roofline"]) == 5 and rows["official"]["over_roofline"] == ""
    assert float(rows[CUDA.called]["roofline_ms"]) == pytest.approx(0.0041943)
    assert float(rows["official"]["speedup_of_cuda"]) == 7 and rows["official"]["speedup_of_triton"] == ""
    assert float(rows[TRITON.called]["speedup_of_cuda"]) == 1.25


def test_what_auto_should_take_where_one_backend_is_never_slower():
    cells = [cell_of_both(256, 8192, 1.3), cell_of_both(1024, 8192, 1.01)]
    [title, fast, same, advice] = choice.lines({"bfloat16": cells})
    assert title.splitlines()[2].split()[:4] == ["N", "D", "operands", "triton"]
    assert fast.split() == ["256", "8192", "bfloat16", "1950.0", "1500.0", "1.30", "(1.28-1.32)", "1.30", "cuda"]
    assert same.endswith("either") and len(same) == len(fast) == len(title.splitlines()[2])
    assert (
        advice
        == 'cuda is faster in 1 of 2 cells, triton in none: AUTO["cuda"] should be ("cuda", "triton", "eager")'
    )
    [*_, advice] = choice.lines({"tf32": [cell_of_both(256, 8192, 0.8)]})
    assert advice.endswith('AUTO["cuda"] should be ("triton", "cuda", "eager")')


def test_what_auto_should_take_where_it_depends_on_the_shape():
    cells = [cell_of_both(64, 8192, 0.8), cell_of_both(512, 8192, 0.9), cell_of_both(4096, 8192, 1.5)]
    [*_, head, cuda_first, triton_first] = choice.lines({"bfloat16": cells, "tf32": [gpu_cell(8, 16, CUDA.graph)]})
    assert "by shape" in head
    assert cuda_first.strip() == (
        "triton is faster in 2: (64, 8192) bfloat16, (512, 8192) bfloat16; "
        "cuda first costs up to 1.25x, at (64, 8192) bfloat16"
    )
    assert triton_first.endswith("triton first costs up to 1.50x, at (4096, 8192) bfloat16")


def test_nothing_is_advised_where_only_one_backend_was_measured():
    [line] = choice.lines({"bfloat16": [gpu_cell(256, 8192, CUDA.graph)]})
    assert "no cell was measured with both" in line


RESULTS = sorted((ROOT / "benchmarks" / "results").glob("loss-*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_still_make_tables(path, tmp_path):
    result = result_file.read(path, "loss")
    names = [name for name in CANDIDATES if any(name in cell["candidates"] for cell in result["cells"])]
    for contender in (AS_ASKED, TRITON, CUDA):
        columns = table.columns(names, contender)
        rows = [table.row(cell, columns) for cell in result["cells"]]
        assert all(len(row) == len(table.header(columns).splitlines()[1]) for row in rows)
    table.empty_lines(result["cells"]), table.target_lines([*result["cells"], result.get("in_all", {})])
    result_file.write(tmp_path / "copy.json", result)


def test_the_roofline_is_a_curve_of_its_own():
    pytest.importorskip("matplotlib")
    from benchmarks.loss.plots import curves, selection

    [line] = selection.lines([cell_of_both(256, d, 1.2) for d in (4096, 1024, 2048)])
    [*_, curve] = curves.time_curves(line, "forward + backward")
    assert (curve.label, curve.x) == ("roofline", [1024, 2048, 4096]) and curve.y == sorted(curve.y)
