"""The learning rate's schedule, that of the authors' code: linear warm-up, then a cosine, step by step."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bt_kernels.trainer.config import Config


def build_scheduler(optimizer: Optimizer, config: Config, steps_per_epoch: int) -> LambdaLR:
    """Return the schedule of a run, to be stepped after every step of the optimizer.

    With W steps of warm-up out of S, step k, from 0, runs at k / W of the peak while k < W: the first one at 0, as
    in the authors' code. From then on the rate follows a cosine from the peak down to ``final_learning_rate`` of
    it, which step S would have. Without a warm-up the first step runs at the peak.

    Args:
        optimizer: Its groups' learning rates are their peaks.
        config: The run's options.
        steps_per_epoch: Steps of an epoch, at least 1.
    """
    total = config.epochs * steps_per_epoch
    warmup, final = config.warmup_steps(steps_per_epoch), config.final_learning_rate

    def share_of_peak(step: int) -> float:
        if step < warmup:
            return step / warmup
        q = (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
        return q + final * (1 - q)

    return LambdaLR(optimizer, share_of_peak)
