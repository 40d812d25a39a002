"""The optimizer's groups, and the schedule against a written-out reference over 50 steps."""

import math

import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
def test_groups_are_the_weights_and_then_the_rest_with_their_own_rates(optimizer):
    model = network()
    config = Config(
        optimizer=optimizer, weight_decay=0.25, learning_rate=0.2, learning_rate_biases=0.05, momentum=0.8,
        lars_coefficient=0.01, batch_size=512, scale_learning_rates=True,
    )  # fmt: skip
    built = build_optimizer(model, config)
    assert type(built).__name__.lower() == optimizer
    weights, rest = built.param_groups
    assert [id(p) for p in weights["params"]] == [id(model[0].weight), id(model[2].weight)]
    assert [id(p) for p in rest["params"]] == [
        id(model[0].bias),
        *map(id, model[1].parameters()),
        id(model[2].bias),
    ]
    assert (weights["weight_decay"], rest["weight_decay"]) == (0.25, 0)
    assert (weights["lr"], rest["lr"]) == (0.4, 0.4 if optimizer == "adamw" else 0.1)
    if optimizer != "adamw":
        assert weights["momentum"] == rest["momentum"] == 0.8
    if optimizer == "lars":
        assert weights["trust_coefficient"] == rest["trust_coefficient"] == 0.01


def schedule(steps_per_epoch, **options):
    """The rates of both groups in every step of a run, and one step beyond it."""
    config = Config(optimizer="sgd", learning_rate=0.5, learning_rate_biases=0.05, **options)
    optimizer = build_optimizer(network(), config)
    scheduler = build_scheduler(optimizer, config, steps_per_epoch)
    rates = []
    for _ in range(config.epochs * steps_per_epoch + 1):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def test_schedule_is_the_reference_over_50_steps():
    rates = schedule(steps_per_epoch=5, epochs=10, warmup="2", final_learning_rate=0.001)
    expected = [step / 10 for step in range(10)]
    for step in range(41):
        q = 0.5 * (1 + math.cos(math.pi * step / 40))
        expected.append(q + 0.001 * (1 - q))
    assert [weights for weights, _ in rates] == pytest.approx([0.5 * share for share in expected], rel=1e-12)
    assert [biases for _, biases in rates] == pytest.approx([0.05 * share for share in expected], rel=1e-12)
    assert rates[0] == [0, 0] and rates[10] == [0.5, 0.05] and rates[50][0] == pytest.approx(0.0005)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, "0"), (1, "90%"), (5, "10%"), (2, "1")])
def test_rates_of_short_runs_are_never_above_the_peak_nor_below_zero(epochs, warmup):
    rates = [weights for weights, _ in schedule(steps_per_epoch=1, epochs=epochs, warmup=warmup)]
    assert all(0 <= value <= 0.5 for value in rates) and max(rates) > 0
