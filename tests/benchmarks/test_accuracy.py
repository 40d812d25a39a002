"""python -m benchmarks.accuracy: its inputs, its errors, and the command on tiny shapes."""

import csv
import json

import pytest
import torch

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import implementations as accuracy_implementations
from benchmarks.accuracy.inputs import FEATURES, STRENGTHS, make_views
from benchmarks.shared import baselines
from benchmarks.shared.cell import Cell
from bt_kernels.reference import reference_loss


def correlation(z_a, z_b):
    y_a, y_b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (z_a, z_b))
    return y_a.T @ y_b / len(z_a)


@pytest.mark.parametrize("n, d", [(64, 256), (256, 64), (48, 48)])
@pytest.mark.parametrize("features", FEATURES)
def test_the_views_share_what_the_strength_says(n, d, features):
    for strength in STRENGTHS:
        diagonal = correlation(*make_views(n, d, strength, features, 0)).diagonal()
        # A correlation measured on N samples is off by (1 - strength) / sqrt(N); the few redundant ones, together.
        assert abs(diagonal.mean() - strength) <= 4 * (1 - strength) / n**0.5 + 1e-3


def test_whitened_features_are_as_decorrelated_as_they_can_be():
    wide = correlation(*make_views(64, 256, 1.0, "whitened", 0))
    off_diagonal = wide.square().sum() - wide.diagonal().square().sum()
    least = 256**2 / 63 - 256  # the rank is N - 1
    assert least * (1 - 1e-9) <= off_diagonal <= 1.001 * least
    tall = correlation(*make_views(256, 64, 1.0, "whitened", 0))
    assert torch.allclose(tall, torch.eye(64, dtype=torch.float64), atol=1e-12)


def test_the_same_seed_gives_the_same_views():
    first, again = (make_views(16, 8, 0.9, "redundant", 3)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, make_views(16, 8, 0.9, "redundant", 4)[0])


def test_every_implementation_is_right_in_float64():
    z_a, z_b = make_views(24, 16, 0.6, "redundant", 0)
    truth = accuracy_implementations.textbook(z_a, z_b)
    assert truth.loss == reference_loss(z_a, z_b)[0]
    found = accuracy_implementations.implementations(Cell(24, 16, "float64"))
    assert {"official", "gram", "lightly", "solo_learn", "monai", "bt_kernels_eager_gram"} <= set(found)
    for name, implementation in found.items():
        errors = accuracy.errors(implementation.run(z_a, z_b, 1.0), implementation.truth(z_a, z_b))
        assert name == "rounded" or max(errors.values()) < 1e-12, name
        assert ("on_diagonal_error" in errors) == (name not in ("solo_learn", "monai", "rounded")), name


def test_a_wrong_gradient_and_a_wrong_term_are_seen():
    z_a, z_b = make_views(24, 16, 0.6, "redundant", 0)
    truth = accuracy_implementations.textbook(z_a, z_b)
    wrong = truth._replace(
        gradients=(truth.gradients[0] * 1.01, truth.gradients[1] * 1.01),
        terms=(truth.terms[0], truth.terms[1] * 2),
    )
    errors = accuracy.errors(wrong, truth)
    assert errors["gradient_error"] == pytest.approx(0.01)
    assert errors["off_diagonal_error"] == 1 and errors["on_diagonal_error"] == errors["loss_error"] == 0


def test_the_baselines_weight_is_what_it_was():
    with pytest.raises(ZeroDivisionError), accuracy_implementations.lambd(7.0):
        assert baselines.LAMBD == 7.0
        1 / 0  # noqa: B018
    assert baselines.LAMBD == 0.0051


def test_writes_the_result_its_table_and_the_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / "result.json"
    arguments = ["--device", "cpu", "--n", "8", "--d", "12", "--seeds", "2", "--dtype", "float32", "bfloat16"]
    assert accuracy.main([*arguments, "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["benchmark"] == "accuracy" and result["complete"]
    assert {"command", "date", "machine", "versions", "git"} <= set(result)
    assert [(c["operands"], c["features"], c["strength"]) for c in result["cells"]] == [
        (operands, features, strength)
        for operands in ("float32", "bfloat16")
        for features in FEATURES
        for strength in STRENGTHS
    ]
    for cell in result["cells"]:
        ours, floor = (cell["candidates"][name] for name in (cell["auto"], "rounded"))
        assert ours["gradient_error"] <= ours["gradient_error_max"] < 0.01
        assert floor["gradient_error"] <= 1.01 * ours["gradient_error"]  # nobody is below the rounding
    rows = list(csv.DictReader(output.with_suffix(".csv").open()))
    assert len(rows) == sum(len(cell["candidates"]) for cell in result["cells"])
    out = capsys.readouterr().out
    assert "under autocast over ours" in out and "whitened" in out
    picture = tmp_path / "again.png"
    assert accuracy.main(["--report", str(output), "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 10_000 and output.with_suffix(".png").stat().st_size > 10_000


def test_one_that_raises_is_recorded_and_one_that_is_not_finite_fails(monkeypatch):
    found = accuracy_implementations.implementations(Cell(8, 12))

    def broken(*_):
        raise RuntimeError("no such thing\nmore")

    def infinite(z_a, z_b, loss_scale):
        return found["official"].run(z_a, z_b, loss_scale)._replace(loss=torch.tensor(float("inf")))

    chosen = {
        "official": found["official"],
        "gram": found["gram"]._replace(run=broken),
        "bt_kernels_eager_gram": found["official"]._replace(run=infinite),
    }
    monkeypatch.setattr("benchmarks.accuracy.__main__.implementations", lambda cell: chosen)
    entries = accuracy.measure(Cell(8, 12), "redundant", 0.3, 2)["candidates"]
    assert entries["official"]["status"] == "ok"
    assert entries["gram"]["reason"] == "RuntimeError: no such thing"
    assert entries["bt_kernels_eager_gram"]["status"] == "FAIL"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--n", "1", "--d", "8"], "--n: expected a whole number >= 2"),
        (["--n", "8", "--d", "many"], "--d: expected a whole number >= 2"),
        (["--n", "8", "--d", "16384"], "--d: expected at most 8192"),
        (["--d", "8"], "both or neither"),
        (["--seeds", "0"], "--seeds"),
        (["--dtype", "tf32"], "only on a GPU"),
        (["--output", "x.txt"], ".json"),
        (["--report", "absent.json"], "absent.json"),
        (["--device", "meta"], "only cpu and cuda"),
    ],
)
def test_bad_arguments_exit_2_with_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        accuracy.main(["--device", "cpu", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
