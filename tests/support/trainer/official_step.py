"""The authors' pre-training step, stated again from what is known of their main.py: model, LARS, learning rates.

The tests' reference for the imagenet preset. Plain, a parameter at a time, and with the names that a checkpoint of
theirs has: backbone, projector, bn, and "mu" for the momentum.
"""

import math
from itertools import pairwise

import torch
from torch import nn

LEARNING_RATE_WEIGHTS, LEARNING_RATE_BIASES = 0.2, 0.0048
WARMUP_EPOCHS = 10


class OfficialModel(nn.Module):
    """Two views to the loss.

    Args:
        backbone: Images (N, 3, S, S) to features (N, F).
        widths: F and the widths of the projector's layers.
        batch_size: The nominal batch, over all GPUs, that the cross-correlation is divided by.
        gpus: Over how many GPUs the rows are spread, here in one process: the gradient does not go through the sum
            of their cross-correlations, so that each GPU's loss reaches its own rows only.
    """

    def __init__(self, backbone, widths, batch_size, lambd=0.0051, gpus=1):
        super().__init__()
        self.batch_size, self.lambd, self.gpus = batch_size, lambd, gpus
        self.backbone = backbone
        layers = []
        for before, width in pairwise(widths[:-1]):
            layers += [nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))
        self.bn = nn.BatchNorm1d(widths[-1], affine=False)

    def forward(self, y1, y2):
        """The GPUs' losses, equal numbers with gradients of their own, which DistributedDataParallel averages."""
        h1, h2 = self.bn(self.projector(self.backbone(y1))), self.bn(self.projector(self.backbone(y2)))
        own = [a.T @ b / self.batch_size for a, b in zip(h1.chunk(self.gpus), h2.chunk(self.gpus), strict=True)]
        total = sum(c.detach() for c in own)
        return torch.stack([self.loss(c + (total - c).detach()) for c in own])

    def loss(self, c):
        on_diagonal = (c.diagonal() - 1).square().sum()
        off_diagonal = c.masked_fill(torch.eye(len(c), dtype=torch.bool), 0).square().sum()
        return on_diagonal + self.lambd * off_diagonal


class OfficialLARS(torch.optim.Optimizer):
    """LARS; parameters of one dimension are left out of decay and adaptation in groups with the two filters."""

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.9, eta=0.001, filters=True):
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "eta": eta,
                "weight_decay_filter": filters,
                "lars_adaptation_filter": filters,
            },
        )

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                dp = p.grad.clone()
                if not group["weight_decay_filter"] or p.ndim != 1:
                    dp += group["weight_decay"] * p
                if not group["lars_adaptation_filter"] or p.ndim != 1:
                    size, update_size = p.norm(), dp.norm()
                    if size > 0 and update_size > 0:
                        dp *= group["eta"] * size / update_size
                state = self.state[p]
                state["mu"] = group["momentum"] * state.get("mu", torch.zeros_like(p)) + dp
                p -= group["lr"] * state["mu"]


def official_optimizer(model, weight_decay=1e-6):
    """Matrices and kernels, then the parameters of one dimension; the learning rates are set before every step."""
    parameters = list(model.parameters())
    weights, biases = [p for p in parameters if p.ndim != 1], [p for p in parameters if p.ndim == 1]
    return OfficialLARS([{"params": weights}, {"params": biases}], lr=0, weight_decay=weight_decay)


def adjust_learning_rate(optimizer, step, epochs, steps_per_epoch, batch_size):
    """Set the learning rates of a step, counted from 0 over all epochs."""
    total, warmup, base = epochs * steps_per_epoch, WARMUP_EPOCHS * steps_per_epoch, batch_size / 256
    if step < warmup:
        rate = base * step / warmup
    else:
        q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
        rate = base * q + base * 0.001 * (1 - q)
    optimizer.param_groups[0]["lr"] = rate * LEARNING_RATE_WEIGHTS
    optimizer.param_groups[1]["lr"] = rate * LEARNING_RATE_BIASES


def official_step(model, optimizer, y1, y2):
    """One step, after ``adjust_learning_rate``; returns the loss."""
    optimizer.zero_grad()
    losses = model(y1, y2)
    losses.mean().backward()
    optimizer.step()
    return losses[0].item()
