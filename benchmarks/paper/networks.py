"""The network of a run: the trainer's, or a small one for a CPU, and what the ablations change in it."""

import torch
from torch import Tensor, nn

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.model.network import IMAGE_CHANNELS, BarlowTwinsNetwork, build_network
from bt_kernels.trainer.model.projector import build_projector

LAYERS = ((32, 2), (64, 2), (128, 1), (256, 2))  # channels and stride


class AsymmetricNetwork(BarlowTwinsNetwork):
    """The network with a predictor behind the first view, or no gradient through the second, or both.

    Args:
        network: Whose backbone and projector it has.
        predictor: From embeddings (N, D) to (N, D), or None.
        stop_gradient: Whether the second view's embeddings are constants of the loss.
    """

    def __init__(self, network: BarlowTwinsNetwork, predictor: nn.Module | None, stop_gradient: bool) -> None:
        super().__init__(network.backbone, network.projector, network.together)
        self.predictor = predictor
        self.stop_gradient = stop_gradient

    def forward(self, view_a: Tensor, view_b: Tensor) -> tuple[Tensor, Tensor]:
        z_a, z_b = super().forward(view_a, view_b)
        return (
            z_a if self.predictor is None else self.predictor(z_a),
            z_b.detach() if self.stop_gradient else z_b,
        )


def small_backbone() -> tuple[nn.Module, int]:
    """Return four 3×3 convolutions with BatchNorm and ReLU, (N, 3, S, S) to (N, F) pooled features, and F."""
    layers: list[nn.Module] = []
    channels = IMAGE_CHANNELS
    for width, stride in LAYERS:
        convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def build(config: Config, backbone: str, change: str) -> BarlowTwinsNetwork:
    """Return the untrained network of a run, on the CPU; the same for the same arguments.

    Args:
        config: The run's options.
        backbone: "small", or "trainer" for that of ``config.backbone``.
        change: "none", "no-bn" (the projector without BatchNorm), "stop-gradient", "predictor" or "both".

    Raises:
        ValueError: there is no such change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if backbone == "small":
            module, features = small_backbone()
            projector = build_projector(features, config.projector_widths)
            network = BarlowTwinsNetwork(module, projector, config.views == "together")
        else:
            network = build_network(config)
        if change == "no-bn":
            layers = (layer for layer in network.projector if not isinstance(layer, nn.BatchNorm1d))
            network.projector = nn.Sequential(*layers)
        elif change in ("stop-gradient", "predictor", "both"):
            width = config.projector_widths[-1]
            predictor = None if change == "stop-gradient" else build_projector(width, [width, width])
            network = AsymmetricNetwork(network, predictor, stop_gradient=change != "predictor")
        elif change != "none":
            raise ValueError(f"there is no network {change!r}")
    return network.to(memory_format=torch.channels_last)
