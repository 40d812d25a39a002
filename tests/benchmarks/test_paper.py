"""python -m benchmarks.paper: losses against float64, asymmetric networks, resuming, the words of findings."""

import json
import math
from concurrent.futures import Future
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.paper import __main__ as command
from benchmarks.paper import findings, grid, networks, plot, published, results, table, train
from benchmarks.paper.findings import Difference, interval, judge, size
from benchmarks.paper.losses import build_criterion
from benchmarks.shared import result_file
from bt_kernels.reference import reference_loss
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import PRESETS
from bt_kernels.trainer.data import images
from bt_kernels.trainer.errors import TrainerError

N, D, LAMBD = 7, 5, 0.03
TINY = replace(
    grid.REDUCED, epochs=1, width=8, label_draws=1, table_seeds=2, sweep_seeds=2, batches=(64,), widths=(8,),
    lambdas=(0.0051,),
)  # fmt: skip


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    z_a, noise = (torch.randn(N, D, generator=generator, dtype=torch.float64) for _ in range(2))
    return z_a, z_a + 0.5 * noise


def correlation(z_a, z_b):
    """C, number by number."""
    y = [(z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (z_a, z_b)]
    return [[sum(y[0][b, i].item() * y[1][b, j].item() for b in range(N)) / N for j in range(D)] for i in range(D)]


def entries(c, same):
    return [c[i][j] for i in range(D) for j in range(D) if (i == j) == same]


def features(z_a, z_b):
    y = [
        (z - z.mean(1, keepdim=True)) / (z.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() for z in (z_a, z_b)
    ]
    return reference_loss(*y, lambd=LAMBD)[0].item()


def covariance(z_a, z_b):
    means = [z.mean(0).tolist() for z in (z_a, z_b)]
    k = [
        [sum((z_a[b, i] - means[0][i]) * (z_b[b, j] - means[1][j]) for b in range(N)).item() / N for j in range(D)]
        for i in range(D)
    ]
    return sum((1 - x) ** 2 for x in entries(k, True)) + LAMBD * sum(x**2 for x in entries(k, False))


def cross_entropy(z_a, z_b):
    c = correlation(z_a, z_b)
    attraction = -math.log(sum(math.exp(x / 0.2) for x in entries(c, True)))
    return attraction + math.log(sum(math.exp(max(x, 0) / 0.2) for x in entries(c, False)))


def info_nce(z_a, z_b):
    z = torch.cat([z_a, z_b])
    z = (z / z.norm(dim=1, keepdim=True)).tolist()
    cosine = [[sum(p * q for p, q in zip(a, b, strict=True)) / 0.2 for b in z] for a in z]
    losses = []
    for i in range(2 * N):
        others = sum(math.exp(cosine[i][k]) for k in range(2 * N) if k != i)
        losses.append(-cosine[i][(i + N) % (2 * N)] + math.log(others))
    return sum(losses) / len(losses)


FORMULAS = {
    "barlow": lambda a, b: reference_loss(a, b, lambd=LAMBD)[0].item(),
    "invariance": lambda a, b: sum((1 - x) ** 2 for x in entries(correlation(a, b), True)),
    "redundancy": lambda a, b: sum(x**2 for x in entries(correlation(a, b), False)),
    "features": features,
    "covariance": covariance,
    "cross-entropy-0.2": cross_entropy,
    "info-nce": info_nce,
}


@pytest.mark.parametrize("loss", FORMULAS)
def test_a_loss_is_its_formula(loss, views):
    """To what N D² multiplications and additions in float64 may round off."""
    computed = build_criterion(loss, LAMBD)(*views).loss.item()
    assert computed == pytest.approx(FORMULAS[loss](*views), rel=N * D * D * torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("loss", FORMULAS)
def test_a_loss_has_the_gradient_of_its_value(loss, views):
    criterion = build_criterion(loss, LAMBD)
    leaves = [z.clone().requires_grad_() for z in views]
    assert torch.autograd.gradcheck(lambda a, b: criterion(a, b).loss, leaves)


def test_every_variant_has_a_loss_and_an_unknown_one_is_refused():
    for loss, _ in grid.VARIANTS.values():
        assert callable(build_criterion(loss, LAMBD))
    with pytest.raises(ValueError, match="there is no loss 'hinge'"):
        build_criterion("hinge", LAMBD)


def asymmetric(change):
    return networks.build(Config(projector="8-8-8"), "small", change).double()


@pytest.mark.parametrize("change", ["stop-gradient", "predictor", "both"])
def test_the_second_view_has_a_gradient_unless_it_is_stopped(change):
    network = asymmetric(change)
    images = [torch.rand(4, 1, 16, 16, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    network.together = False  # through BatchNorm a view sees the other
    z_a, z_b = network(*images)
    build_criterion("barlow", LAMBD)(z_a, z_b).loss.backward()
    assert images[0].grad.abs().sum() > 0
    assert (images[1].grad is None) == (change != "predictor")


@pytest.mark.parametrize("change", ["stop-gradient", "predictor", "both"])
def test_the_predictor_is_behind_the_first_view_alone(change):
    network = asymmetric(change)
    images = [torch.rand(4, 1, 16, 16, dtype=torch.float64) for _ in range(2)]
    z_a, z_b = networks.BarlowTwinsNetwork.forward(network, *images)
    p_a, p_b = network(*images)
    assert torch.equal(p_b, z_b)
    assert torch.equal(p_a, z_a if change == "stop-gradient" else network.predictor(z_a))
    assert torch.equal(p_a, z_a) == (change == "stop-gradient")


def test_without_batch_norm_the_projector_keeps_its_weights():
    plain, changed = (networks.build(Config(projector="8-8-8"), "small", c).projector for c in ("none", "no-bn"))
    assert [type(layer) for layer in changed] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    linear = [[layer.weight for layer in p if isinstance(layer, nn.Linear)] for p in (plain, changed)]
    assert all(torch.equal(a, b) for a, b in zip(*linear, strict=True))


def test_the_grid_has_each_run_once_and_the_baseline_in_every_sweep():
    runs = grid.all_runs(grid.REDUCED)
    assert len({run.key for run in runs}) == len(runs)
    for name in ("batch", "width", "lambda", "batch-steps"):
        assert grid.REDUCED.baseline(0) in [
            run for point in grid.sweep(grid.REDUCED, name).values() for run in point
        ]
    steps = grid.sweep(grid.REDUCED, "batch-steps")
    assert {(1297 // batch) * point[0].epochs // 10 for batch, point in steps.items()} == {40}
    assert grid.REDUCED.rate(256) == 2 * grid.REDUCED.rate(64)


@pytest.mark.long
def test_a_run_end_to_end():
    """The trainer's steps: one epoch lowers the loss, and the entry can be written as JSON."""
    run = replace(TINY.baseline(1), variant="both")
    entry = train.execute(TINY, run, "digits", "", "cpu")
    assert json.loads(json.dumps(entry)) == entry
    assert entry["steps"] == 1297 // 64 and entry["diverged"] is None
    assert 0.3 < entry["accuracy"]["10"] <= entry["accuracy"]["all"] <= 1 and 0.3 < entry["accuracy"]["knn"] <= 1
    assert entry["embeddings"]["rows"] == 512 and entry["embeddings"]["effective_rank"] > 1
    again = train.execute(TINY, run, "digits", "", "cpu")
    assert again["accuracy"] == entry["accuracy"] and again["final_loss"] == entry["final_loss"]
    untrained = train.execute(TINY, replace(run, epochs=0, variant="untrained"), "digits", "", "cpu")
    assert untrained["steps"] == 0 and untrained["final_loss"] is None


def test_images_that_are_not_there_are_not_downloaded(tmp_path):
    with pytest.raises(TrainerError, match="holds cifar-10-batches-py"):
        train.check_data("cifar10", str(tmp_path))
    config = train.configure(grid.FULL_CIFAR, grid.FULL_CIFAR.baseline(0), "cifar10", str(tmp_path), "cpu")
    assert (config.stem, config.optimizer, config.views) == ("small", "adamw", "together")


@pytest.mark.long
def test_a_run_on_photographs(tmp_path, monkeypatch):
    """Images in place of CIFAR-10's, through the same loaders."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), np.arange(200) % 10
    arrays = images.ImageArrays(pixels, labels, 10, "memory")
    monkeypatch.setattr(images, "_open_arrays", lambda *_, **__: arrays)
    monkeypatch.setitem(PRESETS["cifar"], "workers", 0)
    scale = replace(grid.REDUCED_CIFAR, width=8, label_draws=1)
    run = replace(scale.baseline(0), batch=64, epochs=1)
    entry = train.execute(scale, run, "cifar10", str(tmp_path), "cpu")
    assert entry["steps"] == 3 and math.isfinite(entry["final_loss"]) and entry["embeddings"]["rows"] == 192
    assert 0 <= entry["accuracy"]["10"] <= 1


def head(scale):
    configuration = results.configuration(scale, "digits", "a CPU")
    return {
        "benchmark": results.BENCHMARK,
        "complete": False,
        "grid": asdict(scale),
        "configuration": configuration,
    }


def test_resuming_skips_what_is_there_and_refuses_to_mix(tmp_path):
    path, runs = tmp_path / "paper.json", grid.all_runs(TINY)
    first = results.Store(path, head(TINY))
    assert first.missing(runs) == runs
    first.add(runs[0], made_up(0.9))
    again = results.Store(path, head(TINY))
    assert again.missing(runs) == runs[1:]
    with pytest.raises(results.Mixed, match=r"training.label_draws: 1, now 2"):
        results.Store(path, head(replace(TINY, label_draws=2)))
    grown = results.Store(path, head(replace(TINY, table_seeds=3)))  # more seeds are the same experiment
    assert grown.missing(runs) == runs[1:] and grown.result["grid"]["table_seeds"] == 3
    again.finish(runs)
    assert result_file.read(path, results.BENCHMARK)["complete"] is False


def test_another_benchmarks_file_is_refused(tmp_path):
    path = tmp_path / "loss.json"
    path.write_text('{"benchmark": "loss"}')
    with pytest.raises(ValueError, match="no result file of benchmarks.paper"):
        results.Store(path, head(TINY))


@pytest.mark.long
def test_the_command_runs_only_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grid, "REDUCED", TINY)
    output, picture = tmp_path / "paper.json", tmp_path / "paper.png"
    arguments = ["--reduced", "--device", "cpu", "--jobs", "1", "--output", str(output), "--picture", str(picture)]
    done = []
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda *_, **__: AtOnce(done))
    assert command.main(arguments) == 0
    assert len(done) == len(grid.all_runs(TINY)) and picture.stat().st_size > 0
    assert (
        result_file.read(output, results.BENCHMARK)["complete"]
        and output.with_suffix(".md").read_text() in capsys.readouterr().out
    )
    assert command.main(arguments) == 0
    assert len(done) == len(grid.all_runs(TINY))
    with pytest.raises(SystemExit):
        command.main([*arguments, "--data", "cifar10"])
    assert "nothing is downloaded" in capsys.readouterr().err


class AtOnce:
    """Runs nothing, and says what a run would have had."""

    def __init__(self, done):
        self.done = done

    def submit(self, _, scale, run, *where):
        future = Future()
        self.done.append(run)
        future.set_result(made_up(0.9))
        return future

    def shutdown(self, **_):
        pass


def made_up(accuracy, rank=9.0):
    return {
        "accuracy": dict.fromkeys(("1", "2", "5", "10", "all", "knn"), accuracy),
        "embeddings": {"mean_correlation": 0.8, "embedding_std": 1.0, "effective_rank": rank},
        "diverged": None,
        "steps": 20,
    }


@pytest.mark.parametrize(
    ("change", "published_change", "verdict"),
    [
        (Difference(-3.0, 0.5, 5), -14.1, "agrees: it costs much"),
        (Difference(-0.4, 0.1, 5), -14.1, "agrees in direction: it costs little"),
        (Difference(-1.4, 0.8, 5), -14.1, "agrees in direction: it costs here; whether much"),
        (Difference(-1.4, 0.8, 5), -0.9, "open: it costs here; whether much"),
        (Difference(-0.4, 0.5, 5), -14.1, "disagrees: it costs much in the paper, and nothing"),
        (Difference(-0.4, 2.0, 5), -14.1, "open: no difference"),
        (Difference(+1.0, 0.5, 5), -14.1, "disagrees: it costs much in the paper, and helps"),
        (Difference(-3.0, 0.5, 5), -0.9, "disagrees: it costs much here"),
        (Difference(-0.4, 0.1, 5), -0.9, "agrees: it costs little"),
        (Difference(-0.1, 0.3, 5), -0.9, "agrees: no difference"),
        (Difference(-0.1, 3.0, 5), -0.9, "open: no difference beyond the spread of the seeds, which"),
        (Difference(+1.0, 0.5, 5), -0.9, "disagrees: it costs a little in the paper, and helps"),
        (Difference(-3.0, math.nan, 1), -14.1, "open: one seed"),
        (Difference(math.nan, math.nan, 0), -14.1, "open: not measured"),
    ],
)
def test_a_verdict_follows_from_the_difference_and_its_spread(change, published_change, verdict):
    assert judge(change, gain=10.0, published_change=published_change).startswith(verdict)


def test_an_interval_is_students():
    """Three numbers with mean 2 and deviation 1: t(0.975, 2) = 4.3027 of 1/√3."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.seeds) == (2.0, 3) and found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert not found.certain and size(found, 10.0) == "none" and size(interval([1.0]), 10.0) == "unknown"


def measured_from(values):
    """A result whose variants have these accuracies by seed, and all sweeps the baseline's."""
    result = {"grid": asdict(TINY), "runs": {}, "complete": False, "configuration": {"data": "digits"}}
    result |= {"machine": {"device": "a CPU"}, "versions": {"torch": "2"}}
    for run in grid.all_runs(TINY):
        known = values.get(run.variant, values["baseline"])
        result["runs"][run.key] = made_up(known[run.seed], rank=1.0 if run.variant == "invariance" else 9.0)
    return result


VALUES = {
    "baseline": (0.95, 0.94), "untrained": (0.85, 0.84), "redundancy": (0.60, 0.59), "invariance": (0.80, 0.79),
    "features": (0.951, 0.941), "cross-entropy-0.2": (0.97, 0.96),
}  # fmt: skip


def test_findings_compare_seed_by_seed():
    measured = findings.Measured(measured_from(VALUES))
    assert measured.gain == pytest.approx(10.0)
    assert measured.cross_entropy() == "cross-entropy-0.2"
    by_claim = {f.claim.split(":")[0]: f for f in findings.ablation_findings(measured)}
    assert by_claim["invariance"].verdict == "agrees: it costs much" and by_claim["invariance"].here[:5] == "-15.0"
    assert (
        by_claim["cross-entropy-0.2"].verdict.startswith("disagrees")
        and "best of 3" in by_claim["cross-entropy-0.2"].here
    )
    assert by_claim["no-bn"].verdict == "agrees: no difference beyond the spread of the seeds"
    assert findings.collapse_finding(measured).verdict.startswith("agrees in direction")
    fallen = findings.Measured(measured_from(VALUES | {"redundancy": (0.12, 0.11)}))
    assert findings.collapse_finding(fallen).verdict == "agrees"
    opposite = findings.Measured(measured_from(VALUES | {"redundancy": (0.97, 0.96)}))
    assert findings.collapse_finding(opposite).verdict.startswith("disagrees")


def test_curves_are_judged_by_their_ends():
    scale = replace(TINY, batches=(16, 64, 256), widths=(4, 8, 32), lambdas=(0.0001, 0.002, 0.0051, 0.02))
    result = measured_from(VALUES) | {"grid": asdict(scale)}
    by_point = {"batch": {16: 0.90}, "width": {4: 0.80, 32: 0.97}, "lambd": {0.0001: 0.99, 0.02: 0.80}}
    for run in grid.all_runs(scale):
        points = [by_point[name].get(getattr(run, name)) for name in by_point]
        accuracy = next((p for p in points if p), 0.95) - 0.01 * run.seed
        known = VALUES.get(run.variant)
        result["runs"][run.key] = made_up(known[run.seed] if known and run.variant != "baseline" else accuracy)
    measured = findings.Measured(result)
    smallest, largest, *_ = findings.batch_findings(measured)
    assert smallest.verdict.startswith("disagrees: it costs much here") and largest.verdict.startswith("agrees")
    assert [f.verdict.split(":")[0] for f in findings.width_findings(measured)] == ["agrees", "agrees"]
    matters, best = findings.lambda_findings(measured)
    assert matters.verdict.startswith("disagrees") and best.verdict == "disagrees"


def test_the_report_names_a_collapse_and_says_what_is_unfinished(tmp_path):
    result = measured_from(VALUES)
    text = table.markdown(result)
    assert "The grid is not finished" in text
    row = next(line for line in text.splitlines() if line.startswith("| invariance term alone |"))
    assert "| 57.3 | -14.1 | 79.5 ± 0.7 | -15.0 ± 0.0 |" in row and row.endswith("| one feature |")
    for run in grid.table_runs(TINY, "predictor"):
        del result["runs"][run.key]
    assert "| predictor: -1.2 | not measured | open: not measured |" in table.markdown(result)
    assert plot.draw(result, tmp_path / "deep" / "paper.png").stat().st_size > 0


def test_the_papers_numbers_are_of_known_variants():
    names = set(grid.VARIANTS) | {"cross-entropy"}
    assert set(published.ABLATIONS) <= names and max(published.ABLATIONS.values()) < published.BASELINE
