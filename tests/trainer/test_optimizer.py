import math

import pytest
import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.optimization.optimizers import build_optimizer, build_scheduler


def learning_rates(total_steps, warmup_fraction):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), Config(learning_rate=0.5))
    scheduler = build_scheduler(optimizer, total_steps, warmup_fraction)
    rates = []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_linear_warmup_then_cosine_to_zero():
    rates = learning_rates(total_steps=20, warmup_fraction=0.2)
    warmup = [0.5 * (step + 1) / 5 for step in range(4)]
    cosine = [0.25 * (1 + math.cos(math.pi * step / 16)) for step in range(16)]
    assert rates == pytest.approx(warmup + cosine)


@pytest.mark.parametrize(("total_steps", "warmup_fraction"), [(1, 0.0), (1, 0.9), (5, 0.1), (2, 0.5)])
def test_short_runs_have_positive_rates_below_the_peak(total_steps, warmup_fraction):
    rates = learning_rates(total_steps, warmup_fraction)
    assert all(0 < rate <= 0.5 for rate in rates)


def test_weight_decay_spares_biases_and_norms():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
    decayed, spared = build_optimizer(network, Config(weight_decay=0.25)).param_groups
    assert decayed["weight_decay"] == 0.25 and spared["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(network[0].weight), id(network[2].weight)}
    assert len(spared["params"]) == 4
