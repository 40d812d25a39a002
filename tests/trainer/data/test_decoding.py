"""Encoded images of every kind that people bring, as real files, against what the picture in them is."""

import errno
import io
import warnings
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from bt_kernels.trainer.config.parts import MOST_PIXELS
from bt_kernels.trainer.data import open_labelled, open_training_data
from bt_kernels.trainer.data.decoding import BACKGROUND, UnreadableImage, decode
from bt_kernels.trainer.parallel.processes import Processes
from tests.support.trainer.image_data import encoded, photograph_config, png, tiff, write_folder

Y, X = np.mgrid[:64, :64]
WAVES = np.sin(X / 5) * np.cos(Y / 7)  # in [-1, 1]
SPREAD = np.rint((WAVES - WAVES.min()) / (WAVES.max() - WAVES.min()) * 255)
COLOURS = np.stack([WAVES * 120 + 128, WAVES.T * 90 + 100, 255 - WAVES * 100 - 120], axis=2).astype(np.uint8)


def decoded(content, max_pixels=MOST_PIXELS):
    image = decode(io.BytesIO(content), "name", max_pixels)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason(content, max_pixels=MOST_PIXELS):
    with pytest.raises(UnreadableImage) as caught:
        decode(io.BytesIO(content), "name", max_pixels)
    assert caught.value.name == "name" and "\n" not in caught.value.reason
    return caught.value.reason


DEEP = {
    "16-bit PNG": lambda: saved(Image.fromarray((8000 + 7000 * WAVES).astype(np.uint16)), "PNG"),
    "12 bits in a 16-bit PNG": lambda: saved(Image.fromarray((2048 + 2000 * WAVES).astype(np.uint16)), "PNG"),
    "16-bit TIFF": lambda: saved(Image.fromarray((8000 + 7000 * WAVES).astype(np.uint16)), "TIFF"),
    "16-bit TIFF, big-endian": lambda: tiff((30000 + 30000 * WAVES).astype(">u2")),
    "signed 16-bit TIFF": lambda: tiff((9000 * WAVES).astype("<i2")),
    "32-bit TIFF": lambda: tiff((2e9 * WAVES).astype("<i4")),
    "unsigned 32-bit TIFF": lambda: tiff((2e9 + 2e9 * WAVES).astype("<u4")),
    "float TIFF": lambda: saved(Image.fromarray((WAVES * 1e-3).astype(np.float32)), "TIFF"),
    "float TIFF of both signs, huge": lambda: tiff((WAVES * 3e38).astype("<f4")),
    "16-bit PGM": lambda: b"P5 64 64 65535\n" + (8000 + 7000 * WAVES).astype(">u2").tobytes(),
    "PFM": lambda: saved(Image.fromarray(WAVES.astype(np.float32)), "PPM"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_one_channel_of_more_than_8_bits_is_spread_over_its_own_range(kind):
    pixels = decoded(DEEP[kind]())
    assert (pixels == pixels[:, :, :1]).all()
    assert abs(pixels[:, :, 0] - SPREAD).max() <= 1  # the file's own rounding
    assert pixels.min() == 0 and pixels.max() == 255


def test_a_deep_image_of_one_value_is_black():
    assert (decoded(tiff(np.full((3, 5), 777, "<u2"))) == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_unreadable(value):
    values = WAVES.astype("<f4")
    values[3, 4] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(tiff(values)) == "it holds values that are not finite"


def test_several_channels_of_16_bits_are_read_as_their_high_bytes():
    deep = COLOURS.astype(np.uint16) * 256 + 77
    assert (decoded(png(deep)) == COLOURS).all()
    assert (decoded(b"P6 64 64 65535\n" + (COLOURS.astype(">u2") * 257).tobytes()) == COLOURS).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_are_grey_whatever_colour_they_hide(kind):
    alpha = np.where(X < 32, 0, 255).astype(np.uint8)
    colours = COLOURS.copy()
    colours[:, :32] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = decoded(saved(Image.fromarray(np.dstack([colours, alpha])), kind, **options))
    assert (pixels[:, 32:] == COLOURS[:, 32:]).all()
    assert (pixels[:, :32] == BACKGROUND).all()


@pytest.mark.parametrize("ink", [0, 255])
def test_a_drawing_that_is_in_the_alpha_channel_alone_is_seen(ink):
    alpha = (WAVES > 0).astype(np.uint8) * 255
    for content in (
        saved(Image.fromarray(np.dstack([np.full_like(COLOURS, ink), alpha])), "PNG"),
        saved(Image.fromarray(np.dstack([np.full_like(alpha, ink), alpha]), "LA"), "PNG"),
    ):
        pixels = decoded(content)
        assert (pixels[WAVES > 0] == ink).all() and (pixels[WAVES <= 0] == BACKGROUND).all()


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_an_alpha_that_is_the_same_everywhere_hides_nothing(alpha):
    image = Image.fromarray(np.dstack([COLOURS, np.full((64, 64), alpha, np.uint8)]))
    assert (decoded(saved(image, "PNG")) == COLOURS).all()


def test_palettes_and_colours_that_stand_for_transparent():
    palette = Image.fromarray(COLOURS).quantize(16)
    assert (decoded(saved(palette, "PNG")) == np.asarray(palette.convert("RGB"))).all()
    indices = np.asarray(palette)
    for transparent in (3, bytes([255, 255, 255, 0])):
        pixels = decoded(saved(palette, "PNG", transparency=transparent))
        assert (pixels[indices == 3] == BACKGROUND).all()
        assert (pixels[indices != 3] == np.asarray(palette.convert("RGB"))[indices != 3]).all()
    grey = Image.fromarray(SPREAD.astype(np.uint8))
    pixels = decoded(saved(grey, "PNG", transparency=0))
    assert (pixels[SPREAD == 0] == BACKGROUND).all() and (pixels[SPREAD > 0, 0] == SPREAD[SPREAD > 0]).all()


def test_bits_are_black_and_white_and_grey_is_itself():
    bits = Image.fromarray(WAVES > 0)
    assert bits.mode == "1"
    for kind in ("PNG", "TIFF", "BMP"):
        assert (decoded(saved(bits, kind)) == 255 * (WAVES > 0)[:, :, None]).all()
    grey = SPREAD.astype(np.uint8)
    assert (decoded(saved(Image.fromarray(grey), "PNG")) == grey[:, :, None]).all()


def in_lab(image):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))


SPACES = [
    ("RGB", "JPEG"),
    ("CMYK", "JPEG"),
    ("CMYK", "TIFF"),
    ("YCbCr", "JPEG"),
    ("YCbCr", "TIFF"),
    ("LAB", "TIFF"),
]


@pytest.mark.parametrize(("space", "kind"), SPACES)
def test_other_colour_spaces_give_the_colours(space, kind):
    image = Image.fromarray(COLOURS)
    converted = in_lab(image) if space == "LAB" else image.convert(space)
    pixels = decoded(saved(converted, kind))
    for channel in range(3):  # inverted, they would be at -1
        assert np.corrcoef(pixels[:, :, channel].ravel(), COLOURS[:, :, channel].ravel())[0, 1] > 0.95
    if kind == "TIFF":
        assert (pixels == np.asarray(converted.convert("RGB"))).all()


def test_of_several_frames_the_first_is_read():
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    for kind, options in (("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decoded(content) == COLOURS).all()


def test_the_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (decoded(saved(Image.fromarray(COLOURS[:40]), "PNG", exif=exif)) == COLOURS[:40]).all()


def test_every_reason_is_kept(tmp_path):
    whole = encoded(0)
    assert reason(b"") == "it is empty"
    assert reason(b"<html>404</html>") == "it is no image that Pillow knows"
    assert "truncated" in reason(whole[:-200])
    assert "truncated" in reason(saved(Image.fromarray(COLOURS), "JPEG", quality=100)[:-500])
    broken = bytearray(whole)
    broken[whole.index(b"IDAT") + 9] ^= 255
    assert reason(bytes(broken)) not in ("", "it is empty", "it is no image that Pillow knows")
    assert reason(tiff(WAVES.astype("<f8"))) == "it is no image that Pillow knows"
    for path, expected in ((tmp_path / "none.png", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UnreadableImage) as caught:
            decode(str(path), "a.png", MOST_PIXELS)
        assert (caught.value.name, caught.value.reason) == ("a.png", expected)


def test_a_file_that_may_not_be_read_says_so(monkeypatch):
    def refuse(source):
        raise PermissionError(errno.EACCES, "Permission denied", source)

    monkeypatch.setattr(Image, "open", refuse)  # root may read everything
    with pytest.raises(UnreadableImage) as caught:
        decode("/images/a.png", "a.png", MOST_PIXELS)
    assert caught.value.reason == "Permission denied"


def test_the_most_pixels_are_the_options_alone(monkeypatch):
    """Whatever Pillow's own limit is; that is the host program's and stays as it was."""
    assert MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS  # above which Pillow itself raises
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    content = saved(Image.fromarray(COLOURS), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for most in (0, 64 * 64, MOST_PIXELS):
            assert (decoded(content, most) == COLOURS).all()
    assert reason(content, 64 * 64 - 1) == "its 64 x 64 pixels are more than --max-image-pixels 4095"
    assert Image.MAX_IMAGE_PIXELS == 5
    pixels = "its 1048576 x 1048576 pixels"  # refused by its header alone: nobody has the memory
    assert reason(b"P5 1048576 1048576 255\n") == f"{pixels} are more than --max-image-pixels {MOST_PIXELS}"


def test_not_enough_memory_is_a_reason(monkeypatch):
    def refuse(self, mode):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", refuse)
    assert reason(encoded(0)) == "MemoryError"


def test_deep_images_reach_a_run_as_pictures(tmp_path):
    """The folder of the report: 16-bit and float images that came out in one colour."""
    for part in ("train", "val"):
        write_folder(tmp_path / part, images=0)
        for label in range(3):
            for name in ("16-bit PNG", "float TIFF"):
                suffix = name[-4:].strip().lower()
                (tmp_path / part / f"class{label}" / f"{name}.{suffix}").write_bytes(DEEP[name]())
    config = photograph_config(tmp_path, batch_size=6, jitter_probability=0.0, crop_scale=(1.0, 1.0))
    with closing(open_training_data(config, Processes(), torch.device("cpu")).views(0)) as views:
        step = next(views)
    assert step.unreadable == () and (step.a.flatten(1).std(dim=1) > 0.1).all()
    images, _ = next(iter(open_labelled(config, "test").batches(range(6), 6, augment=False)))
    assert (images.flatten(1).std(dim=1) > 0.1).all()
