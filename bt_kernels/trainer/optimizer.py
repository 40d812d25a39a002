"""The optimizer and its learning-rate schedule, both PyTorch's own."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from bt_kernels.trainer.config import Config


def build_optimizer(network: nn.Module, config: Config) -> AdamW:
    """Return AdamW with weight decay on matrices and kernels, none on biases and normalisation parameters."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.learning_rate, fused=True)


def build_scheduler(optimizer: AdamW, total_steps: int, warmup_fraction: float) -> LRScheduler:
    """Return a per-step schedule: linear warm-up to the peak learning rate, then a cosine to zero.

    Args:
        optimizer: Its learning rate is the peak.
        total_steps: Steps of the whole run, at least 1.
        warmup_fraction: Share of them that warms up, in [0, 1).
    """
    warmup_steps = int(warmup_fraction * total_steps)
    cosine = CosineAnnealingLR(optimizer, T_max=total_steps - warmup_steps)
    if warmup_steps == 0:
        return cosine
    # Step k of the warm-up (from 0) runs at (k + 1) / (warmup_steps + 1) of the peak: never at zero.
    warmup = LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)
    return SequentialLR(optimizer, [warmup, cosine], milestones=[warmup_steps])
