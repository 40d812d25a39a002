"""Convolutions on small feature maps as matrix products.

On the CPU the convolution library spends most of a training step of a ResNet-50 on 16×16 images in the
backward of 1×1 convolutions and of 3×3 convolutions whose map is not larger than 2×2. Both are plain matrix
products over the channels. The classes below are nn.Conv2d in every other respect: same parameters, same
state_dict keys, same numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MatmulConv2d(nn.Conv2d):
    """nn.Conv2d, (N, C, H, W) to (N, O, H', W'), by a matrix product on the CPU where its geometry allows it.

    Fast in the channels-last memory format, where no copy of the activations is needed; right in any.
    """

    @classmethod
    def from_conv(cls, convolution: nn.Conv2d) -> MatmulConv2d:
        """Return the same convolution, sharing its parameters."""
        new = cls(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            stride=convolution.stride,  # type: ignore[arg-type]
            padding=convolution.padding,  # type: ignore[arg-type]
            dilation=convolution.dilation,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
            padding_mode=convolution.padding_mode,
            device="meta",  # no memory and no random numbers for weights that are replaced at once
        )
        new.weight, new.bias = convolution.weight, convolution.bias
        return new

    def forward(self, input: Tensor) -> Tensor:
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if plain and input.device.type == "cpu":
            if self.kernel_size == (1, 1) and self.padding == (0, 0):
                return self._pointwise(input)
            if self.kernel_size == (3, 3) and self.padding == (1, 1) and max(input.shape[-2:]) <= 2:
                return self._dense(input)
        return super().forward(input)

    def _pointwise(self, input: Tensor) -> Tensor:
        strided = input[:, :, :: self.stride[0], :: self.stride[1]]
        return F.linear(strided.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def _dense(self, input: Tensor) -> Tensor:
        """3×3, padding 1, on a map of at most 2×2: a fully connected layer.

        Every output pixel sees every input pixel, through one window of the kernel; the windows of all
        output pixels, stacked, are the layer's matrix.
        """
        batch, _, height, width = input.shape
        rows, columns = range(0, height, self.stride[0]), range(0, width, self.stride[1])
        kernel = self.weight.permute(0, 2, 3, 1)  # first, so that the gradient keeps the weight's memory layout
        windows = [
            kernel[:, 1 - row : 1 - row + height, 1 - column : 1 - column + width].flatten(1)
            for row in rows
            for column in columns
        ]
        matrix = windows[0] if len(windows) == 1 else torch.cat(windows)
        output = F.linear(input.permute(0, 2, 3, 1).flatten(1), matrix)
        output = output.view(batch, len(rows), len(columns), self.out_channels)
        if self.bias is not None:
            output = output + self.bias
        return output.permute(0, 3, 1, 2)


class PooledShortcut(MatmulConv2d):
    """A shortcut's strided 1×1 convolution with 2×2 average pooling in place of the stride.

    A strided 1×1 convolution keeps one pixel in four; on maps of a few pixels that loses most of the image.
    Pooling has no parameters, so the weights' names stay those of the strided convolution.
    """

    @classmethod
    def from_conv(cls, convolution: nn.Conv2d) -> PooledShortcut:
        """Return the pooled form of a 1×1 convolution with stride 2, sharing its parameters."""
        new = super().from_conv(convolution)
        assert isinstance(new, PooledShortcut)
        new.stride = (1, 1)
        return new

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(input, 2, ceil_mode=True, count_include_pad=False))
