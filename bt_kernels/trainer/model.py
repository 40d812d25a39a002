"""The network: a torchvision ResNet with average-pooled shortcuts, and the projector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bt_kernels.trainer.config import BACKBONE_FEATURES, Config
from bt_kernels.trainer.convolution import MatmulConv2d, PooledShortcut
from bt_kernels.trainer.torchvision_import import import_torchvision

IMAGE_CHANNELS = 3


def build_backbone(architecture: str) -> nn.Module:
    """Return a torchvision ResNet without its classifier, (N, 3, H, W) to (N, F) average-pooled features.

    The state_dict has exactly the keys and shapes of ``torchvision.models.<architecture>()`` minus
    ``fc.*``. The shortcuts that change the resolution pool 2×2 where torchvision's take every second pixel,
    so rebuild the network with this function to get the same features from the same weights.
    """
    torchvision = import_torchvision()
    backbone = torchvision.models.get_model(architecture, weights=None, zero_init_residual=True)
    backbone.fc = nn.Identity()
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.Conv2d):
            shortcut = name.endswith("downsample.0") and module.stride != (1, 1)
            backbone.set_submodule(name, (PooledShortcut if shortcut else MatmulConv2d).from_conv(module))
    return backbone


def build_projector(features: int, widths: list[int]) -> nn.Sequential:
    """Return the projector: Linear without bias, BatchNorm, ReLU for all widths but the last, then Linear."""
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        features = width
    layers.append(nn.Linear(features, widths[-1], bias=False))
    return nn.Sequential(*layers)


class BarlowTwinsNetwork(nn.Module):
    """Backbone and projector; images (N, 1, H, W) in [0, 1] to embeddings (N, D).

    Args:
        backbone: Module from (N, 3, H, W) images to (N, F) features.
        projector: Module from (N, F) features to (N, D) embeddings.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features: (N, 1, H, W) to (N, F)."""
        return self.backbone(images.expand(-1, IMAGE_CHANNELS, -1, -1))

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.features(images))


def build_network(config: Config) -> BarlowTwinsNetwork:
    """Return the untrained network of a run, on the CPU; the same configuration gives the same weights.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = build_backbone(config.backbone)
        projector = build_projector(BACKBONE_FEATURES[config.backbone], config.projector_widths)
        network = BarlowTwinsNetwork(backbone, projector)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
