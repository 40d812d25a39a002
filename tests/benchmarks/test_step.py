"""python -m benchmarks.step: the step, the gate, the search, and the command on a tiny network."""

import csv
import json
import sys
from importlib.util import find_spec

import pytest
import torch

from benchmarks.shared.device import CpuDevice
from benchmarks.step import __main__ as step
from benchmarks.step import cell as step_cell
from benchmarks.step import fit as step_fit
from benchmarks.step import memory as step_memory
from benchmarks.step.losses import OURS, STEP_LOSSES
from benchmarks.step.model import StepModel, StepSetting
from benchmarks.step.truth import Gate

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="no torchvision")
TINY = StepSetting(4, 24, network="resnet18", image_size=8)
EAGER = [name for name, loss in STEP_LOSSES.items() if not loss.compiled]


@pytest.fixture(autouse=True)
def small_caches(monkeypatch):
    monkeypatch.setattr("benchmarks.shared.device.last_level_cache", lambda: 1 << 20)


@pytest.fixture(scope="module")
def model():
    return StepModel(TINY)


def test_the_projector_has_three_layers_of_at_most_the_papers_width():
    assert StepSetting(4, 512).projector == "512-512-512"
    assert StepSetting(4, 32768).projector == "8192-8192-32768"
    assert StepSetting(4, 512, hidden=64).projector == "64-64-512"


def test_a_step_moves_the_weights_and_returns_the_loss(model):
    before = [p.detach().clone() for p in model.network.parameters()]
    loss = model.step(STEP_LOSSES[OURS].build(24, torch.device("cpu"), torch.float32))
    assert loss.isfinite() and not loss.requires_grad
    moved = [not torch.equal(a, b) for a, b in zip(before, model.network.parameters(), strict=True)]
    assert moved[0] and moved[-1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_loss_passes_the_gate_at_the_networks_embeddings(dtype):
    setting = StepSetting(32, 24, network="resnet18", image_size=8, dtype=dtype)
    views = StepModel(setting).leaves()
    assert views[0].dtype == setting.torch_dtype and views[0].shape == (32, 24)
    gate = Gate(CpuDevice(), *views)
    for name in EAGER:
        loss_of = STEP_LOSSES[name].build(24, torch.device("cpu"), setting.torch_dtype)
        errors, seconds = gate.errors(name, loss_of)
        assert errors.within(dtype) and seconds > 0, name


@pytest.mark.long
def test_a_wrong_loss_gets_no_time(model, monkeypatch):
    right = STEP_LOSSES["official"].formula

    def wrong(*arguments):
        loss_of = right(*arguments)
        return lambda z_a, z_b: 1.01 * loss_of(z_a, z_b)

    monkeypatch.setitem(STEP_LOSSES, "official", type(STEP_LOSSES["official"])("official formula", wrong))
    monkeypatch.setattr("benchmarks.step.cell.cpu_peaks", lambda setting, names: dict.fromkeys(names, 1000))
    cell = step_cell.measure_cell(CpuDevice(), TINY, [OURS, "official"], 0.1)
    assert cell["candidates"]["official"]["status"] == "FAIL" and "ms" not in cell["candidates"]["official"]
    assert cell["candidates"][OURS]["status"] == "ok" and cell["candidates"][OURS]["rounds"] == 3
    assert step.exit_status({"cells": [cell]}) == 1


@pytest.mark.parametrize("limit", [2, 37, 64, 100, 1000, 4096])
@pytest.mark.parametrize("start", [2, 64, 512])
def test_the_largest_is_found_to_a_sixteenth(limit, start):
    asked = []
    found = step_fit.largest(lambda value: asked.append(value) or value <= limit, start, 2, 4096)
    assert found.tries == len(asked) == len(set(asked))
    assert found.value <= limit and found.value % 2 == 0
    if found.does_not_fit is None:
        assert 2 * found.value > 4096
    else:
        assert limit < found.does_not_fit <= found.value + max(2, found.value // 16)


def test_nothing_fits():
    assert step_fit.largest(lambda value: False, 64, 16, 4096) == (0, 16, 3)


def test_what_does_not_fit_is_told_from_what_is_broken(monkeypatch):
    answers = {
        "fits": 900,
        "peak": 1100,
        "allocator": "worker exit 1, RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried 8 bytes",
        "killed": "worker exit -9, no message",
        "broken": "worker exit 1, ImportError: no module",
    }
    monkeypatch.setattr(
        "benchmarks.step.fit.cpu_peaks", lambda setting, names, budget: {n: answers[n] for n in names}
    )
    fits = {name: step_fit.fits_in_budget(1000, TINY, name) for name in list(answers)[:-1]}
    assert fits == {"fits": True, "peak": False, "allocator": False, "killed": False}
    with pytest.raises(RuntimeError, match="ImportError: no module"):
        step_fit.fits_in_budget(1000, TINY, "broken")


@pytest.mark.long
def test_peaks_come_from_a_fresh_process_and_hold_the_weights():
    setting = StepSetting(8, 2048, hidden=64, network="resnet18", image_size=8)
    peaks = step_memory.cpu_peaks(setting, [OURS, "monai"])
    if isinstance(peaks[OURS], str) and "needs Linux" in peaks[OURS]:
        pytest.skip(peaks[OURS])
    weights = sum(p.numel() for p in StepModel(setting).network.parameters())
    assert peaks[OURS] > 3 * 4 * weights  # with gradient and momentum
    assert peaks["monai"] > peaks[OURS] + 2 * 4 * 2048**2  # its D x D matrices


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the guard is Linux's")
@pytest.mark.long
def test_a_process_over_its_budget_is_stopped_before_it_takes_the_memory():
    setting = StepSetting(4, 32768, hidden=64, network="resnet18", image_size=8)  # C has 4.3 GB
    reason = step_memory.cpu_peaks(setting, ["monai"], budget=10**8)["monai"]
    assert isinstance(reason, str) and any(word in reason for word in step_fit.OUT_OF_MEMORY), reason


def test_writes_the_result_and_the_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("benchmarks.step.cell.cpu_peaks", lambda setting, names: dict.fromkeys(names, 10**9))
    monkeypatch.setattr(
        "benchmarks.step.fit.cpu_peaks",
        lambda setting, names, budget: dict.fromkeys(names, 10**7 * setting.batch + 10**4 * setting.d),
    )
    output = tmp_path / "result.json"
    arguments = [
        "--device",
        "cpu",
        "--network",
        "resnet18",
        "--image-size",
        "8",
        "--n",
        "4",
        "--d",
        "24",
        "16",
    ]
    arguments += ["--losses", OURS, "monai", "--max-memory", "0.4", "--seconds", "600", "--output", str(output)]
    arguments += ["--fit", "batch"]
    monkeypatch.setattr("benchmarks.step.cell.MOST_ROUNDS", 3)
    assert step.main(arguments) == 0
    result = json.loads(output.read_text())
    assert result["benchmark"] == "step" and result["complete"]
    assert {"command", "date", "machine", "versions", "git"} <= set(result)
    assert [(cell["n"], cell["d"]) for cell in result["cells"]] == [(4, 16), (4, 24)]
    for cell in result["cells"]:
        for entry in cell["candidates"].values():
            assert entry["status"] == "ok" and entry["rounds"] == len(entry["samples_ms"])
            assert entry["loss_share"] == entry["loss_ms"]["q50"] / entry["ms"]["q50"]
        assert cell["ratios"][f"monai/{OURS}"]["q50"] > 0
    assert result["largest"]["batch"][OURS]["value"] == 38  # 400 MB of 10 MB each, and 0.24 MB
    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    assert len(rows) == 4 and rows[0]["ms_q50"] and rows[0]["loss_share"]
    assert output.with_suffix(".png").stat().st_size > 10_000
    assert "largest batch with MONAI: 38" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--n", "1"], "--n"),
        (["--d", "8", "0"], "--d"),
        (["--threads", "0"], "--threads"),
        (["--seconds", "0"], "--seconds"),
        (["--output", "x.txt"], ".json"),
        (["--image-size", "4"], "image"),
        (["--fit", "batch"], "--max-memory"),
        (["--max-memory", "1e9"], "at most"),
        (["--device", "meta"], "only cpu and cuda"),
    ],
)
def test_bad_arguments_exit_2_with_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        step.main(["--device", "cpu", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
