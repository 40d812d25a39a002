"""Two random views of every image in a batch, each image with its own parameters.

All images of a batch are transformed together; the affine map and the elastic deformation are one resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AugmentationStrength:
    """Half-widths of the parameters' uniform distributions; lengths are fractions of the image's side."""

    rotation_degrees: float = 15.0
    log_scale: float = 0.2
    log_aspect: float = 0.12
    shear: float = 0.2
    shift: float = 0.15
    elastic: float = 0.03  # standard deviation of the coarse displacement field
    sharpness: float = 1.0  # −1 blurs with a 3×3 binomial kernel, +1 adds the same difference back
    log_gamma: float = 0.5
    cutout_side: float = 0.4
    noise: float = 0.15  # largest standard deviation, in units of the intensity range


_ELASTIC_CELLS = 4  # control points per side of the displacement field


class TwoViews:
    """Draw two independent augmentations of a batch of single-channel images.

    Args:
        generator: CPU generator that every parameter is drawn from, whatever the images' device; its state
            is all the state there is.
        strength: Ranges of the parameters.
    """

    def __init__(self, generator: torch.Generator, strength: AugmentationStrength | None = None) -> None:
        self.generator = generator
        self.strength = strength or AugmentationStrength()

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return two augmented copies of ``images``, (N, 1, H, W) in [0, 1]: same shape, dtype and range."""
        view_a, view_b = self.augment(torch.cat([images, images])).chunk(2)
        return view_a, view_b

    def augment(self, images: Tensor) -> Tensor:
        """Return one augmented copy of every image: (N, 1, H, W) in [0, 1] to (N, 1, H, W) in [0, 1]."""
        images = self._deform(images)
        images = self._blur_or_sharpen(images)
        images = images.clamp(0.0, 1.0).pow(self._uniform(images, 1, self.strength.log_gamma).exp())
        images = self._cut_out(images)
        return self._add_noise(images).clamp(0.0, 1.0)

    def _uniform(self, images: Tensor, columns: int, half_width: float) -> Tensor:
        """Per-image parameters in [−half_width, half_width]; (N, columns, 1, 1), on the images' device."""
        values = torch.rand(len(images), columns, 1, 1, generator=self.generator) * 2 - 1
        return (values * half_width).to(images)

    def _normal(self, images: Tensor, *shape: int) -> Tensor:
        return torch.randn(len(images), *shape, generator=self.generator).to(images)

    def _deform(self, images: Tensor) -> Tensor:
        """Affine map and elastic displacement in one bilinear resampling, zeros outside."""
        strength = self.strength
        angle = self._uniform(images, 1, strength.rotation_degrees * torch.pi / 180).flatten()
        scale = self._uniform(images, 1, strength.log_scale).flatten()
        aspect = self._uniform(images, 1, strength.log_aspect).flatten()
        shear = self._uniform(images, 1, strength.shear).flatten()
        shift = (
            self._uniform(images, 2, strength.shift).flatten(1) * 2
        )  # the grid spans [−1, 1]: two units per side
        zoom_x, zoom_y = (-scale - aspect).exp(), (-scale + aspect).exp()  # output to input: the inverse zoom
        cos, sin = angle.cos(), angle.sin()
        row_x = torch.stack([zoom_x * cos, zoom_x * (shear * cos - sin), shift[:, 0]], dim=1)
        row_y = torch.stack([zoom_y * sin, zoom_y * (shear * sin + cos), shift[:, 1]], dim=1)
        grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False)
        coarse = self._normal(images, 2, _ELASTIC_CELLS, _ELASTIC_CELLS) * (2 * strength.elastic)
        displacement = F.interpolate(coarse, size=images.shape[-2:], mode="bicubic", align_corners=True)
        return F.grid_sample(images, grid + displacement.permute(0, 2, 3, 1), align_corners=False)

    def _blur_or_sharpen(self, images: Tensor) -> Tensor:
        binomial = images.new_tensor([1.0, 2.0, 1.0]) / 4
        blurred = F.conv2d(images, torch.outer(binomial, binomial)[None, None], padding=1)
        return images + self._uniform(images, 1, self.strength.sharpness) * (images - blurred)

    def _cut_out(self, images: Tensor) -> Tensor:
        """Set a random rectangle, sides up to ``cutout_side``, to zero."""
        height, width = images.shape[-2:]
        half_sides = self._uniform(images, 2, self.strength.cutout_side / 2).abs()
        centres = self._uniform(images, 2, 0.5) + 0.5
        rows = (torch.arange(height, device=images.device).view(1, 1, -1, 1) + 0.5) / height
        columns = (torch.arange(width, device=images.device).view(1, 1, 1, -1) + 0.5) / width
        inside_rows = (rows - centres[:, :1]).abs() < half_sides[:, :1]
        inside_columns = (columns - centres[:, 1:]).abs() < half_sides[:, 1:]
        return images.masked_fill(inside_rows & inside_columns, 0.0)

    def _add_noise(self, images: Tensor) -> Tensor:
        deviation = self._uniform(images, 1, self.strength.noise).abs()
        return images + deviation * self._normal(images, *images.shape[1:])
