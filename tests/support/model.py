"""A model that ends in the loss."""

import torch
from torch import nn

from bt_kernels import BarlowTwinsLoss


class Model(nn.Module):
    """(N, 12) of each view -> projector -> embeddings (N, 20) -> loss."""

    def __init__(self, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.projector, self.loss = nn.Linear(12, 20), BarlowTwinsLoss(**options)

    def forward(self, x_a, x_b):
        return self.loss(self.projector(x_a), self.projector(x_b))
