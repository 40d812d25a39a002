"""Two random views of a photograph, as the authors' code draws them, and the plain view of the evaluation.

Colours, blur and solarization are done by Pillow, as in the authors' code; the crop is done on tensors, where
torchvision resamples three times as fast. Every view is a function of a key alone, whoever computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from bt_kernels.trainer.augmentation.seeds import seeded
from bt_kernels.trainer.config.parts import AugmentationOptions
from bt_kernels.trainer.torchvision_import import import_torchvision

import_torchvision()

from torchvision.transforms import InterpolationMode, v2  # noqa: E402
from torchvision.transforms.v2.functional import pil_to_tensor  # noqa: E402

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BLUR_SIGMAS = (0.1, 2.0)  # standard deviations in pixels
SOLARIZE_THRESHOLD = 128  # of 255
EVALUATION_MARGIN = 256 / 224  # the image's short side when it is resized, in units of the crop's


class PhotographViews:
    """Draws two views of one image.

    Args:
        options: Probabilities and strengths; with ``augment_on`` "device", only crop and flip are done here.
        image_size: Side S of the views.
    """

    def __init__(self, options: AugmentationOptions, image_size: int) -> None:
        self._geometry = crop_and_flip(image_size, options.crop_scale, options.flip_probability)
        in_loader = options.augment_on == "loader"
        self._colours = [photometry(options, view) if in_loader else None for view in range(2)]

    def __call__(self, image: Image.Image, key: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the two views of an RGB image that belong to ``key``; (3, S, S) uint8 each."""
        pixels = pil_to_tensor(image)
        views = []
        for view, colours in enumerate(self._colours):
            with seeded(*key, view):
                cropped = self._geometry(pixels)
                views.append(cropped if colours is None else colours(cropped))
        return views[0], views[1]


def crop_and_flip(
    image_size: int, scale: Sequence[float], flip_probability: float, bicubic: bool = True
) -> v2.Transform:
    """Return the random crop, resized to ``image_size``, and the random flip; of (3, H, W) uint8."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                image_size,
                scale=tuple(scale),
                interpolation=InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(flip_probability),
        ]
    )


def photometry(options: AugmentationOptions, view: int) -> v2.Transform:
    """Return what changes a view's colours, blurs and solarizes it; (3, S, S) uint8 to the same.

    Args:
        options: Probabilities and strengths.
        view: 0 for view A, 1 for view B; they have probabilities of their own.
    """
    return v2.Compose(
        [
            v2.ToPILImage(),
            v2.RandomApply([v2.ColorJitter(*options.jitter)], p=options.jitter_probability),
            v2.RandomGrayscale(options.greyscale_probability),
            v2.RandomApply([PillowBlur()], p=options.blur_probability[view]),
            v2.RandomSolarize(SOLARIZE_THRESHOLD, p=options.solarize_probability[view]),
            v2.PILToTensor(),
        ]
    )


class PillowBlur(v2.Transform):
    """Pillow's Gaussian blur with a random width: the authors', and a fifth of the time of torchvision's."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"sigma": float(torch.empty(1).uniform_(*BLUR_SIGMAS))}

    def transform(self, inpt: Image.Image, params: dict[str, Any]) -> Image.Image:
        return inpt.filter(ImageFilter.GaussianBlur(params["sigma"]))


class LabelledView:
    """Draws the one view of an image that a classifier sees, as in the authors' evaluation (bilinear).

    Args:
        image_size: Side S of the view.
        margin: The image's short side when it is resized before the central crop, in units of S.
    """

    def __init__(self, image_size: int, margin: float) -> None:
        self.side = image_size
        resized = round(image_size * margin)
        self._random = crop_and_flip(image_size, (0.08, 1.0), 0.5, bicubic=False)
        self._plain = v2.Compose([v2.Resize(resized, antialias=True), v2.CenterCrop(image_size)])

    def __call__(self, image: Image.Image, key: Sequence[int] | None) -> Tensor:
        """Return the view of an RGB image, random by ``key``, or the plain one for None; (3, S, S) uint8."""
        pixels = pil_to_tensor(image)
        if key is None:
            return self._plain(pixels)
        with seeded(*key):
            return self._random(pixels)


def normalize(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its standard deviation: (N, 3, S, S) in [0, 1] to the same shape."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


def to_float(images: Tensor) -> Tensor:
    """(N, 3, S, S) uint8 to float32 in [0, 1]."""
    return images.float() / 255
