"""The clock, the limits, the memory reading and the targets."""

import sys

import pytest
import torch

from benchmarks.loss.in_all import run_in_all
from benchmarks.loss.targets import TARGETS, verdicts
from benchmarks.shared.candidates import FLOOR, OURS
from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CpuDevice, open_device
from benchmarks.shared.limits import MAX_CALL_SECONDS, CallTimes, does_not_fit
from benchmarks.shared.measure import quantiles, ratio, rounds_for, sits_in, time_candidates
from benchmarks.shared.memory import peak_deltas
from benchmarks.shared.worker import run_worker


def test_rounds_shrink_with_the_call_but_never_vanish():
    assert rounds_for(1e-6, most=40) == 40
    assert rounds_for(0.1, most=40, budget=2.0) == 20
    assert rounds_for(10.0, most=40) == 2
    assert rounds_for(100.0, most=40) == 1


@pytest.mark.parametrize("rounds, total", [(2, 60), (3, 7), (7, 7)])
def test_slow_candidates_sit_in_exactly_their_rounds(rounds, total):
    assert sum(sits_in(r, rounds, total) for r in range(total)) == rounds


def test_rounds_rotate_the_candidates_and_start_fresh():
    calls = []
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    samples = time_candidates(CpuDevice(), steps, {"a": 0.5, "b": 0.5}, lambda: calls.append("clear"))
    assert calls[::2] == ["clear"] * 6
    assert calls[1::2] == ["a", "b", "b", "a", "a", "b"]
    assert all(seconds > 0 for seconds in samples["a"] + samples["b"])


def test_a_slow_candidate_leaves_gaps_in_the_shared_rounds():
    samples = time_candidates(CpuDevice(), {"a": int, "b": int}, {"a": 1.0, "b": 0.25}, int)
    assert len(samples["a"]) == len(samples["b"]) == 6
    assert sum(seconds is not None for seconds in samples["a"]) == 3


def test_ratios_are_formed_within_rounds():
    samples = {"a": [1.0, None, 30.0], "b": [2.0, 5.0, 10.0]}
    assert ratio(samples, "a", "b") == pytest.approx(quantiles([0.5, 3.0]))
    assert ratio(samples, "a", "missing") is None


def test_what_does_not_fit_is_refused_with_the_sizes():
    assert does_not_fit("official", Cell(256, 8192), 12e9) is None
    assert "does not fit" in does_not_fit("official", Cell(256, 65536), 12e9)
    assert does_not_fit(OURS, Cell(256, 65536), 12e9) is None


def test_what_takes_too_long_is_foreseen_from_a_smaller_d():
    times = CallTimes()
    times.record("official", Cell(64, 1024), MAX_CALL_SECONDS / 3)
    assert "too slow" in times.too_slow("official", Cell(64, 2048))
    assert times.too_slow("official", Cell(256, 2048)) is None
    times.record(FLOOR, Cell(64, 1024), 100.0)
    assert times.too_slow(FLOOR, Cell(64, 2048)) is None


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_known_formulas():
    cell = Cell(64, 2048)
    peaks = peak_deltas(open_device("cpu"), cell, dict.fromkeys([OURS, "official"]), set(), lambda: None)
    square = cell.d**2 * 4
    assert peaks["official"] == pytest.approx(4.2 * square, rel=0.1)
    assert cell.embeddings_bytes * 0.9 < peaks[OURS] < square


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.long
def test_the_peak_in_all_is_not_that_of_the_process_that_measures():
    """The kernel hands the largest resident size down to a process that is started."""
    here = torch.ones(400_000_000)  # 1.6 GB, more than torch itself takes
    entry = run_in_all(Cell(8, 16), threads=1)
    assert entry["status"] == "ok" and entry["peak_bytes_in_all"] < here.nbytes


def test_a_worker_that_dies_leaves_its_last_words():
    found, ended = run_worker("json.tool", {"no": "such file"})
    assert found == {} and ended.startswith("worker exit ") and "such file" in ended


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.long
def test_a_peak_that_is_not_measured_says_why():
    peaks = peak_deltas(open_device("cpu"), Cell(8, 8, "no such dtype"), {OURS: None}, set(), lambda: None)
    assert "not measured: worker exit 1" in peaks[OURS] and "no such dtype" in peaks[OURS]


def cell_with(n, d, peak, **ratios):
    return {
        "n": n,
        "d": d,
        "embeddings_bytes": 2 * n * d * 4,
        "candidates": {OURS: {"peak_bytes": peak}},
        "ratios": {key.replace("__", "/"): {"q50": value} for key, value in ratios.items()},
    }


def test_targets_are_judged_where_they_apply():
    good = cell_with(256, 8192, 1e6, bt_kernels__floor=1.2, official__bt_kernels=50, gram_compiled__bt_kernels=1.4)
    assert [v["met"] for v in verdicts(good, TARGETS)] == [True] * 4
    bad = cell_with(256, 8192, 1e9, bt_kernels__floor=1.3, official__bt_kernels=40, gram_compiled__bt_kernels=1.2)
    assert [v["met"] for v in verdicts(bad, TARGETS)] == [False] * 4
    assert [v["met"] for v in verdicts(cell_with(64, 4096, 1e6, bt_kernels__floor=1.5), TARGETS)] == [True, True]
    assert [v["key"] for v in verdicts(cell_with(2048, 2048, 1e6, official__bt_kernels=0.9), TARGETS)] == [
        "official",
        "memory",
    ]
