"""Timing: all candidates of a cell in the same rounds, so that drift and disturbance hit them alike.

Each round calls every candidate once, in rotated order, each call with flushed caches. Slow candidates sit some
rounds out, evenly. Ratios are formed within a round and summarised afterwards.
"""

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.shared.device import Device

SECONDS_PER_CANDIDATE = 1.5
MIN_ROUNDS, MIN_ROUNDS_SLOW, SLOW_SECONDS, ONCE_SECONDS = 3, 2, 4.0, 20.0

Samples = dict[str, list[float | None]]  # seconds per candidate and round; None where it sat out


class Quantiles(NamedTuple):
    q20: float
    q50: float
    q80: float


def quantiles(values: list[float]) -> Quantiles:
    points = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    return Quantiles(*torch.quantile(torch.tensor(values, dtype=torch.float64), points).tolist())


def rounds_for(seconds: float, most: int, budget: float = SECONDS_PER_CANDIDATE) -> int:
    """Rounds of a candidate whose call takes about that long, at most that many."""
    if seconds >= ONCE_SECONDS:
        return 1
    least = MIN_ROUNDS_SLOW if seconds >= SLOW_SECONDS else MIN_ROUNDS
    return min(most, max(least, int(budget / max(seconds, 1e-9))))


def time_candidates(
    device: Device,
    steps: dict[str, Callable[[], object]],
    expected_seconds: dict[str, float],
    before_each: Callable[[], None],
    budget: float = SECONDS_PER_CANDIDATE,
) -> Samples:
    """Seconds of every candidate's calls; before_each runs outside the clock."""
    rounds = {name: rounds_for(expected_seconds[name], device.max_rounds, budget) for name in steps}
    total = max(rounds.values(), default=0)
    samples: Samples = {name: [None] * total for name in steps}
    names = list(steps)
    gc.collect()
    gc.disable()
    try:
        for r in range(total):
            start = r % len(names)
            for name in names[start:] + names[:start]:
                if sits_in(r, rounds[name], total):
                    before_each()
                    samples[name][r] = device.time(steps[name])
    finally:
        gc.enable()
    return samples


def sits_in(round_index: int, rounds: int, total: int) -> bool:
    """Whether a candidate with that many rounds out of the total takes part in this one: evenly spread."""
    return (round_index + 1) * rounds // total > round_index * rounds // total


def ratio(samples: Samples, over: str, under: str) -> Quantiles | None:
    """Quantiles of samples[over] / samples[under] within the rounds that have both."""
    pairs = zip(samples.get(over, ()), samples.get(under, ()), strict=False)
    values = [a / b for a, b in pairs if a is not None and b is not None]
    return quantiles(values) if values else None
