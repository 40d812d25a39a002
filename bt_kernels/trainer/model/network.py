"""The network: a backbone and the projector, from two views to their embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.model.projector import build_projector

IMAGE_CHANNELS = 3


def three_channels(images: Tensor) -> Tensor:
    """Return images as a backbone takes them, (N, 1 or 3, S, S) to (N, 3, S, S): grey is three equal channels."""
    return images.expand(-1, IMAGE_CHANNELS, -1, -1)


class BarlowTwinsNetwork(nn.Module):
    """Backbone and projector: two views (N, C, S, S) each, C 1 or 3, to their embeddings (N, D) each.

    Args:
        backbone: Module from (N, 3, S, S) images to (N, F) features.
        projector: Module from (N, F) features to (N, D) embeddings.
        together: Whether both views go through as one batch, which the batch norms see as one; otherwise one
            after the other.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module, together: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.together = together

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features: (N, 1 or 3, S, S) to (N, F)."""
        return self.backbone(three_channels(images))

    def forward(self, view_a: Tensor, view_b: Tensor) -> tuple[Tensor, Tensor]:
        if not self.together:
            return self.projector(self.features(view_a)), self.projector(self.features(view_b))
        z_a, z_b = self.projector(self.features(torch.cat((view_a, view_b)))).chunk(2)
        return z_a, z_b


def build_network(config: Config) -> BarlowTwinsNetwork:
    """Return the untrained network of a run, on the CPU; the same configuration gives the same weights.

    The global random state is left as it was.

    Raises:
        TrainerError: there is no such backbone, or it does not take such images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone, features = build_backbone(config, config.image_size)
        projector = build_projector(features, config.projector_widths)
        network = BarlowTwinsNetwork(backbone, projector, together=config.views == "together")
    return network.to(memory_format=torch.channels_last)
