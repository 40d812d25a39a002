"""Colour jitter, greyscale, blur and solarization of a whole batch, each image with parameters of its own.

Equal, image by image, to torchvision's transforms of float images, which take one set of parameters for a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from bt_kernels.trainer.augmentation.photographs import BLUR_SIGMAS, SOLARIZE_THRESHOLD
from bt_kernels.trainer.augmentation.seeds import mixed_seed
from bt_kernels.trainer.config.parts import AugmentationOptions

_LUMA = (0.2989, 0.587, 0.114)
_BLUR_RADIUS = 11  # 5.5 times the widest standard deviation


@dataclass(frozen=True)
class Photometry:
    """Parameters of one view of N images, on the CPU; calling it applies them.

    Args:
        jitter: Which images' colours are jittered; (N,) bool.
        order: The order of brightness (0), contrast (1), saturation (2) and hue (3); (N, 4) int64.
        factors: Of brightness, contrast and saturation, and the shift of the hue in turns; (N, 4) float32.
        grey: Which images lose their colours; (N,) bool.
        blur: Which images are blurred; (N,) bool.
        sigma: Standard deviations of the blur in pixels; (N,) float32.
        solarize: Which images are solarized; (N,) bool.
    """

    jitter: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    solarize: Tensor

    def rows(self, own: slice) -> Photometry:
        """Return the parameters of some of the images."""
        return Photometry(*(getattr(self, entry.name)[own] for entry in fields(self)))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images changed: (N, 3, H, W) in [0, 1], on any device, to the same."""
        images = images.clone()
        for position in range(4):
            for number, change in enumerate(_JITTER):
                rows = self._rows(self.jitter & (self.order[:, position] == number), images)
                factors = self.factors[:, number].to(images)[rows].view(-1, 1, 1, 1)
                images[rows] = change(images[rows], factors)
        rows = self._rows(self.grey, images)
        images[rows] = luma(images[rows]).expand(-1, 3, -1, -1)
        rows = self._rows(self.blur, images)
        images[rows] = gaussian_blur(images[rows], self.sigma.to(images)[rows])
        rows = self._rows(self.solarize, images)
        images[rows] = solarize(images[rows])
        return images

    @staticmethod
    def _rows(chosen: Tensor, images: Tensor) -> Tensor:
        """Indices of the chosen images, on their device: found on the CPU, they do not make it wait for a GPU."""
        return chosen.nonzero().flatten().to(images.device, non_blocking=True)


def draw_photometry(options: AugmentationOptions, view: int, images: int, key: Sequence[int]) -> Photometry:
    """Draw the parameters of one view of a batch.

    Args:
        options: Probabilities and strengths.
        view: 0 for view A, 1 for view B.
        images: Number N of images.
        key: What the parameters depend on, besides the view.
    """
    generator = torch.Generator().manual_seed(mixed_seed(*key, view))

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(images, generator=generator) * (high - low) + low

    def chosen(probability: float) -> Tensor:
        return torch.rand(images, generator=generator) < probability

    *relative, hue = options.jitter
    factors = [uniform(1 - strength, 1 + strength) for strength in relative] + [uniform(-hue, hue)]
    return Photometry(
        jitter=chosen(options.jitter_probability),
        order=torch.rand(images, 4, generator=generator).argsort(dim=1),
        factors=torch.stack(factors, dim=1),
        grey=chosen(options.greyscale_probability),
        blur=chosen(options.blur_probability[view]),
        sigma=uniform(*BLUR_SIGMAS),
        solarize=chosen(options.solarize_probability[view]),
    )


def luma(images: Tensor) -> Tensor:
    """Brightness as seen: (N, 3, H, W) to (N, 1, H, W)."""
    red, green, blue = images.unbind(dim=1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale (N, 3, H, W) by (N, 1, 1, 1)."""
    return (images * factors).clamp(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance of (N, 3, H, W) from each image's mean brightness by (N, 1, 1, 1)."""
    return torch.lerp(luma(images).mean(dim=(2, 3), keepdim=True), images, factors).clamp(0, 1)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance of (N, 3, H, W) from grey by (N, 1, 1, 1)."""
    return torch.lerp(luma(images), images, factors).clamp(0, 1)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of (N, 3, H, W) by (N, 1, 1, 1) turns, with HSV's value and saturation as they are."""
    red, green, blue = images.unbind(dim=1)
    value, least = images.amax(dim=1), images.amin(dim=1)
    chroma = value - least
    divisor = torch.where(chroma > 0, chroma, 1.0)
    from_green = (blue - red) / divisor + 2
    from_blue = (red - green) / divisor + 4
    hue = torch.where(value == green, from_green, from_blue)
    hue = torch.where(value == red, (green - blue) / divisor, hue)  # in sixths of a turn
    # Each channel falls from the value by the chroma where its own hue, 0, 2 or 4 sixths, is far.
    phase = (hue.unsqueeze(1) + 6 * shifts + images.new_tensor([5.0, 3.0, 1.0]).view(3, 1, 1)).remainder(6)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(phase, 4 - phase).clamp(0, 1)


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur (N, 3, H, W) with standard deviations (N,), reflected at the borders."""
    count, _, height, width = images.shape
    if count == 0:
        return images
    radius = min(_BLUR_RADIUS, height - 1, width - 1)
    distance = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = (-((distance / sigmas.view(-1, 1)) ** 2) / 2).softmax(dim=1).repeat_interleave(3, dim=0)
    # One group per image and channel, first along the rows, then along the columns.
    padded = F.pad(images, [radius] * 4, mode="reflect").view(1, 3 * count, height + 2 * radius, -1)
    blurred = F.conv2d(padded, weights.view(3 * count, 1, 1, -1), groups=3 * count)
    return F.conv2d(blurred, weights.view(3 * count, 1, -1, 1), groups=3 * count).view_as(images)


def solarize(images: Tensor) -> Tensor:
    """Invert (N, 3, H, W) where it is bright."""
    return torch.where(images >= SOLARIZE_THRESHOLD / 255, 1 - images, images)
