"""The optimizer of a run, with its parameters in two groups."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.optimization.lars import LARS

REFERENCE_BATCH = 256  # --scale-learning-rates: the batch size whose learning rates are the ones given


def build_optimizer(network: nn.Module, config: Config) -> Optimizer:
    """Return the optimizer of a run, its learning rates at their peaks.

    The first group holds matrices and kernels; the second, without weight decay, biases and the parameters of
    norms.

    Args:
        network: Whose parameters it moves; already spread over the ranks, if it is going to be.
        config: The run's options.
    """
    parameters = list(network.parameters())
    scale = config.batch_size / REFERENCE_BATCH if config.scale_learning_rates else 1.0
    rate = scale * config.learning_rate
    rate_biases = rate if config.optimizer == "adamw" else scale * config.learning_rate_biases
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "lr": rate, "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "lr": rate_biases, "weight_decay": 0.0},
    ]
    if config.optimizer == "lars":
        return LARS(groups, lr=rate, momentum=config.momentum, trust_coefficient=config.lars_coefficient)
    if config.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=config.momentum)
    return AdamW(groups, lr=rate, fused=True)
