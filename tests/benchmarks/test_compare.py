"""python -m benchmarks.compare on made-up files: noise alone, regressions, what cannot be compared."""

import copy
import json
import random

import pytest

from benchmarks import compare

SHAPES = [(256, 512), (256, 8192), (1024, 8192)]


def times(random_numbers: random.Random, rounds: int, ms: float, noise: float) -> dict:
    samples = [ms * random_numbers.lognormvariate(0, noise) for _ in range(rounds)]
    return {"status": "ok", "samples_ms": samples, "peak_bytes": 50_000_000}


def result(seed: int, noise: float = 0.05, rounds: int = 20) -> dict:
    numbers = random.Random(seed)
    cells = []
    for n, d in SHAPES:
        candidates = {
            name: {**times(numbers, rounds, ms, noise), "forward": times(numbers, rounds, ms / 3, noise)}
            for name, ms in (("bt_kernels", 10.0), ("official", 80.0), ("floor", 9.0))
        }
        cells.append(
            {"n": n, "d": d, "formulation": "gram", "embeddings_bytes": 8 * n * d, "candidates": candidates}
        )
    machine = {"device": "a CPU", "cpu": "a CPU", "threads": 2}
    versions = {"bt_kernels_backend": "cpu"}
    return {"benchmark": "loss", "operands": "float32", "machine": machine, "versions": versions, "cells": cells}


def slow_down(found: dict, factor: float, cell: int = 1, passes: str | None = None) -> dict:
    found = copy.deepcopy(found)
    entry = found["cells"][cell]["candidates"]["bt_kernels"]
    entry = entry[passes] if passes else entry
    entry["samples_ms"] = [factor * ms for ms in entry["samples_ms"]]
    return found


def run(tmp_path, *results: dict) -> int:
    paths = [tmp_path / f"{index}.json" for index in range(len(results))]
    for path, found in zip(paths, results, strict=True):
        path.write_text(json.dumps(found))
    return compare.main(list(map(str, paths)))


@pytest.mark.parametrize("rounds, noise", [(20, 0.05), (40, 0.2), (3, 0.02), (2, 0.02)])
def test_noise_alone_is_no_regression(rounds, noise, tmp_path):
    for seed in range(0, 40, 2):
        assert run(tmp_path, result(seed, noise, rounds), result(seed + 1, noise, rounds)) == 0


@pytest.mark.parametrize("passes", [None, "forward"])
def test_a_slowdown_beyond_the_noise_is_found_where_it_is(passes, tmp_path, capsys):
    assert run(tmp_path, result(1, 0.02), slow_down(result(2, 0.02), 1.2, passes=passes)) == 1
    worse = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert len(worse) == 2 and all("D = 8192, N = 256" in line and "time" in line for line in worse)
    assert all(("forward alone" in line) is (passes == "forward") for line in worse)


def test_few_rounds_need_a_greater_change(tmp_path):
    before = result(3, 0.001, rounds=3)
    assert run(tmp_path, before, slow_down(result(4, 0.001, rounds=3), 1.08)) == 0
    assert run(tmp_path, before, slow_down(result(4, 0.001, rounds=3), 1.15)) == 1


def test_a_loss_so_slow_that_it_was_timed_once_is_found(tmp_path):
    """benchmarks.shared.measure gives a call of 20 s or more one round: the last."""
    before, status = result(3, 0.001), {}
    for factor in (1.4, 1.6):
        after = slow_down(result(4, 0.001), factor)
        samples = after["cells"][1]["candidates"]["bt_kernels"]["samples_ms"]
        samples[:-1] = [None] * (len(samples) - 1)
        status[factor] = run(tmp_path, before, after)
    assert status == {1.4: 0, 1.6: 1}


def test_a_slower_machine_is_no_regression_and_a_faster_loss_neither(tmp_path):
    after = result(6)
    for cell in after["cells"]:
        for entry in cell["candidates"].values():
            entry["samples_ms"] = [1.7 * ms for ms in entry["samples_ms"]]
    assert run(tmp_path, result(5), after) == 0
    assert run(tmp_path, result(5), slow_down(result(6), 0.5)) == 0


@pytest.mark.parametrize("factor, status", [(1.0, 0), (1.1, 1)])
def test_what_slows_every_cell_a_little_is_found_overall(factor, status, tmp_path, capsys, monkeypatch):
    """10 % of noise hides 10 % in each cell, and not in ten of them."""
    monkeypatch.setattr(f"{__name__}.SHAPES", [(256, 512 << k) for k in range(10)])
    after = result(8, 0.1, 20)
    for cell in range(10):
        after = slow_down(after, factor, cell)
    assert run(tmp_path, result(7, 0.1, 20), after) == status
    worse = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert bool(status) == any(line.startswith("  overall, bt_kernels / ") for line in worse)


@pytest.mark.parametrize("gone", ["forward", "peak_bytes", "samples_ms"])
def test_what_is_no_longer_measured_is_worse(gone, tmp_path, capsys):
    after = result(1)
    del after["cells"][0]["candidates"]["bt_kernels"][gone]
    assert run(tmp_path, result(1), after) == 1
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize("peak, status", [(50_900_000, 0), (52_400_000, 0), (52_600_000, 1)])
def test_memory_may_grow_by_five_percent(peak, status, tmp_path):
    after = result(1)
    after["cells"][0]["candidates"]["bt_kernels"]["peak_bytes"] = peak
    assert run(tmp_path, result(1), after) == status


def test_a_small_peak_may_grow_by_a_megabyte(tmp_path):
    before, after = result(1), result(1)
    for found, peak in ((before, 2_000_000), (after, 2_900_000)):
        found["cells"][0]["candidates"]["bt_kernels"]["peak_bytes"] = peak
    assert run(tmp_path, before, after) == 0


@pytest.mark.parametrize("status", ["FAIL", "unavailable"])
def test_what_is_wrong_or_does_not_run_is_worse(status, tmp_path, capsys):
    after = result(1)
    after["cells"][0]["candidates"]["bt_kernels"] = {"status": status}
    assert run(tmp_path, result(1), after) == 1
    assert f"status: ok, now {status}" in capsys.readouterr().out


def test_cells_of_one_file_only_are_counted(tmp_path, capsys):
    after = result(2)
    del after["cells"][0]
    assert run(tmp_path, result(1), after) == 0
    assert "in 2 cells" in (printed := capsys.readouterr().out) and "1 cells are in one file only" in printed
    after["cells"] = []
    assert run(tmp_path, result(1), after) == 2
    assert "no cell" in capsys.readouterr().err


def test_what_auto_chose_is_no_setting_of_a_cell(tmp_path):
    after = slow_down(result(2, 0.02), 1.5)
    after["cells"][1]["formulation"] = "correlation"
    assert run(tmp_path, result(1, 0.02), after) == 1


def test_errors_are_compared_with_those_of_the_official_formula(tmp_path):
    def accuracy(ours: float, official: float) -> dict:
        found = result(1)
        found["benchmark"] = "accuracy"
        errors = {"bt_kernels_cpu_gram": ours, "official": official}
        for cell in found["cells"]:
            cell["candidates"] = {name: {"status": "ok", "gradient_error": e} for name, e in errors.items()}
        return found

    assert run(tmp_path, accuracy(1e-7, 1e-7), accuracy(2.8e-7, 2e-7)) == 0
    assert run(tmp_path, accuracy(1e-7, 1e-7), accuracy(1.6e-7, 1e-7)) == 1


@pytest.mark.parametrize("error, status", [(9e-7, 0), (5e-6, 1)])
def test_the_losss_own_error_may_not_grow(error, status, tmp_path):
    before, after = result(1), result(1)
    for found, value in ((before, 1e-7), (after, error)):
        found["cells"][0]["candidates"]["bt_kernels"]["loss_error"] = value
    assert run(tmp_path, before, after) == status


@pytest.mark.parametrize(
    "where, key, value, message",
    [
        ("machine", "device", "another CPU", "differ in the device: a CPU and another CPU"),
        ("machine", "threads", 4, "number of threads: 2 and 4"),
        ("versions", "bt_kernels_backend", "eager", "backend: cpu and eager"),
        (None, "operands", "bfloat16", "dtype: float32 and bfloat16"),
        (None, "benchmark", "step", "benchmark: loss and step"),
        (None, "benchmark", "another", "no result file of benchmarks.loss"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(where, key, value, message, tmp_path, capsys):
    after = result(1)
    (after[where] if where else after)[key] = value
    assert run(tmp_path, result(1), after) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_json_is_refused(tmp_path, capsys):
    path = tmp_path / "broken.json"
    path.write_text("{")
    assert compare.main([str(path), str(path)]) == 2
    assert "broken.json" in capsys.readouterr().err
