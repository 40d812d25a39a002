"""What becomes of torchvision's ResNets for small images: another stem, other shortcuts, faster convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from bt_kernels.trainer.config.parts import BackboneOptions
from bt_kernels.trainer.model.convolution import MatmulConv2d, PooledShortcut

if TYPE_CHECKING:
    from torchvision.models import ResNet

# Up to this side most maps of a ResNet are so small that its convolutions are faster as matrix products.
SMALL_IMAGE = 32


def adapt_resnet(resnet: ResNet, options: BackboneOptions, image_size: int) -> None:
    """Change a ResNet of torchvision, in place, into that of the options, with its weights and their names.

    The small stem's convolution, 3×3 with stride 1, is new: ``conv1.weight`` is the one that has another shape.

    Args:
        resnet: As torchvision makes it.
        options: Its stem and shortcuts.
        image_size: Side of the images.
    """
    if options.stem == "small":
        resnet.conv1 = nn.Conv2d(3, resnet.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
        resnet.set_submodule("maxpool", nn.Identity())
    for name, module in list(resnet.named_modules()):
        if not isinstance(module, nn.Conv2d):
            continue
        if options.shortcuts == "pooled" and name.endswith("downsample.0") and module.stride != (1, 1):
            resnet.set_submodule(name, PooledShortcut.from_conv(module))
        elif image_size <= SMALL_IMAGE:
            resnet.set_submodule(name, MatmulConv2d.from_conv(module))
