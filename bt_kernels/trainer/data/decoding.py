"""Encoded images to 8-bit RGB: the one way in which folders, shards, evaluations and pictures read an image.

Of several frames it is the first, and the EXIF orientation is not applied, as in torchvision's and timm's folders.
One channel of more than 8 bits is spread over the image's own range: by that of its type, 12-bit data in 16 bits
would be all but black. Several 16-bit channels come from Pillow as 8 bits, the high byte of each.
"""

from __future__ import annotations

import io
import os
import threading
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

BACKGROUND = 128  # behind transparent pixels: neither dark nor bright drawings vanish on it
_OPENING = threading.Lock()  # Pillow's limit is a global of the whole program
_SAMPLE_FORMAT, _UNSIGNED = 339, 1  # a tag of TIFF


class Unreadable(NamedTuple):
    """An image, or a file that holds images, that could not be read, and why."""

    name: str
    reason: str


class UnreadableImage(Exception):
    """An image that is missing, damaged or refused.

    Args:
        name: What it is called in a message.
        reason: Why it cannot be read, without a full stop.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read: {self.reason}"


def decode(source: str | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """Return the image in a file, in RGB with 8 bits a channel.

    Args:
        source: The file, or its path.
        name: What the image is called in a message.
        max_pixels: Images of more pixels are refused before they are decoded; 0: none are.

    Raises:
        UnreadableImage: it is missing, damaged, too large, or of a kind that Pillow does not read.
    """
    try:
        with _opened(source) as image:
            if 0 < max_pixels < image.width * image.height:
                size = f"{image.width} x {image.height} pixels"
                raise ValueError(f"its {size} are more than --max-image-pixels {max_pixels}")
            return _in_rgb(image)
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files, SyntaxError among them
        raise UnreadableImage(name, _reason(error, source)) from error


def _opened(source: str | IO[bytes]) -> Image.Image:
    """Read an image's header, however large the image is: Pillow itself would refuse it, or warn."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # I;16 and its byte orders, I, F
        return _spread(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    lowest, highest = with_alpha.getchannel("A").getextrema()
    if lowest == highest:  # it says nothing about the picture, least of all where it hides all of it
        return with_alpha.convert("RGB")
    below = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(below, with_alpha).convert("RGB")


def _spread(image: Image.Image) -> Image.Image:
    """Return a grey image of more than 8 bits with its smallest value at 0 and its largest at 255.

    One that has the same value everywhere becomes black.
    """
    values = np.asarray(image)
    if values.dtype == np.int32 and getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED:
        values = values.view(np.uint32)  # as TIFF has it; Pillow's own type has a sign
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it holds values that are not finite")
    grey = (values - low) / ((high - low) or 1) * 255
    return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")


def _reason(error: Exception, source: str | IO[bytes]) -> str:
    if isinstance(error, UnidentifiedImageError):
        size = os.path.getsize(source) if isinstance(source, str) else source.seek(0, io.SEEK_END)
        return "it is no image that Pillow knows" if size else "it is empty"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if text and isinstance(error, (OSError, ValueError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
