"""What people bring as images and folders of them: no picture is lost in silence, and a refusal is a sentence."""

import io
import os
import tempfile
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from bt_kernels.trainer.augmentation.photographs import LabelledView, PhotographViews
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.parts import MOST_PIXELS
from bt_kernels.trainer.data import open_labelled, open_training_data
from bt_kernels.trainer.data.decoding import UnreadableImage, decode
from bt_kernels.trainer.data.folders import THUMBNAILS, find_images, image_endings
from bt_kernels.trainer.data.images import ImageFiles, lacking_labels
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes

CPU = torch.device("cpu")
CONFIG = Config(data="imagefolder", data_dir="images", image_size=8, batch_size=2, device="cpu")
VIEWS, PLAIN = PhotographViews(CONFIG, 8), LabelledView(8, 256 / 224)

# What a NumPy array of (H, W) or (H, W, C) in [0, 1] becomes.
KINDS = {
    "L": lambda v: Image.fromarray((v[..., 0] * 255).astype(np.uint8)),
    "1": lambda v: Image.fromarray(v[..., 0] > np.median(v[..., 0])),
    "I;16": lambda v: Image.fromarray((v[..., 0] * 4095).astype(np.uint16)),
    "I": lambda v: Image.fromarray((v[..., 0] * 2e9 - 1e9).astype(np.int32)),
    "F": lambda v: Image.fromarray((v[..., 0] * 1e-3).astype(np.float32)),
    "RGB": lambda v: Image.fromarray((v[..., :3] * 255).astype(np.uint8)),
    "RGBA": lambda v: Image.fromarray((v * 255).astype(np.uint8), "RGBA"),
    "LA": lambda v: Image.fromarray((v[..., ::3] * 255).astype(np.uint8), "LA"),
    "drawn in alpha": lambda v: Image.fromarray((v * [0, 0, 0, 255]).astype(np.uint8), "RGBA"),
    "hidden by alpha": lambda v: Image.fromarray((v * [255, 255, 255, 0]).astype(np.uint8), "RGBA"),
    "P": lambda v: Image.fromarray((v[..., :3] * 255).astype(np.uint8)).quantize(16),
    "CMYK": lambda v: Image.fromarray((v * 255).astype(np.uint8), "CMYK"),
    "YCbCr": lambda v: Image.fromarray((v[..., :3] * 255).astype(np.uint8)).convert("YCbCr"),
}
FORMATS = ("PNG", "TIFF", "JPEG", "PPM", "BMP", "WEBP")


@st.composite
def encoded_images(draw):
    """Return an image and the bytes of its file."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    values = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((height, width, 4))
    image = KINDS[draw(st.sampled_from(sorted(KINDS)))](values)
    kind, file, options = draw(st.sampled_from(FORMATS)), io.BytesIO(), {}
    # The others lose it when they are written.
    assume("A" not in image.mode or kind in ("PNG", "TIFF", "WEBP"))
    assume(image.mode not in ("I;16", "I", "F") or kind in ("PNG", "TIFF", "PPM"))
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    if kind == "TIFF":
        options["compression"] = draw(st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]))
    if kind == "PNG" and image.mode == "P":
        options["transparency"] = draw(st.sampled_from([0, 3, bytes(range(0, 256, 16))]))
    if draw(st.booleans()) and kind in ("PNG", "JPEG", "WEBP"):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = draw(st.integers(1, 8))
    try:
        image.save(file, kind, **options)
    except (OSError, KeyError, ValueError):  # the format does not know the mode
        assume(False)
    return image, file.getvalue()


@given(encoded_images())
def test_a_picture_stays_a_picture(encoded):
    image, content = encoded
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode(io.BytesIO(content), "name", MOST_PIXELS)
    assert decoded.mode == "RGB" and decoded.size == image.size
    pixels = np.asarray(decoded).reshape(-1, 3)
    if image.width * image.height >= 16:  # of random values: they differ
        assert len(np.unique(pixels, axis=0)) > 1
    for view in (*VIEWS(decoded, (0, 1)), PLAIN(decoded, None), PLAIN(decoded, (0, 1))):
        assert view.shape == (3, 8, 8) and view.dtype == torch.uint8


@given(encoded_images(), st.data())
def test_damage_is_an_image_or_one_line_that_says_why(encoded, data):
    content = bytearray(encoded[1])
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content)), "length") :]
    for _ in range(data.draw(st.integers(0, 4), "changes") if content else 0):
        # Headers are where it matters most.
        last = len(content) - 1 if data.draw(st.booleans(), "anywhere") else min(60, len(content) - 1)
        content[data.draw(st.integers(0, last), "position")] = data.draw(st.integers(0, 255), "value")
    try:
        decoded = decode(io.BytesIO(bytes(content)), "name", 100_000)
    except UnreadableImage as error:
        assert error.name == "name" and error.reason and len(error.reason.splitlines()) == 1
        return
    assert decoded.mode == "RGB" and decoded.width * decoded.height <= 100_000
    if min(decoded.size) * 100 > max(decoded.size):
        PLAIN(decoded, None)
    assert all(view.shape == (3, 8, 8) for view in VIEWS(decoded, (0, 1)))


STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"BM", b"P5 ", b"RIFF", b"\xff\xd8\xff"]


@given(st.binary(max_size=300), st.sampled_from(STARTS))
def test_what_is_no_image_is_one_line(rest, start):
    try:
        assert decode(io.BytesIO(start + rest), "name", 100_000).mode == "RGB"
    except UnreadableImage as error:
        assert error.reason and len(error.reason.splitlines()) == 1


FOLDERS = st.sampled_from(["a", "b", "a-b", "é", "c.png", ".h", "__MACOSX", "n 1"])
FILES = st.sampled_from(["0.png", "1.PNG", "2.tif", "._0.png", "x.txt", "none", "3.jpg", "Thumbs.db"])
PATHS = st.lists(FOLDERS, max_size=3)
TARGETS = st.one_of(
    st.sampled_from(["..", ".", "nowhere", "../..", "a", "b", "../a", "../b", "0.png"]),
    st.tuples(FOLDERS, FOLDERS).map("/".join),
)
TREES = st.lists(
    st.one_of(
        st.tuples(st.just("file"), PATHS, FILES, st.sampled_from(["image", "damaged", "empty"])),
        st.tuples(st.just("folder"), PATHS, FOLDERS, st.none()),
        st.tuples(st.just("link"), PATHS, st.one_of(FOLDERS, FILES), TARGETS),
    ),
    max_size=14,
)


def grow(root, tree):
    """Make the files, folders and links that can be made, in a folder inside of ``root``."""
    top = root / "up" / "top"
    top.mkdir(parents=True)
    content = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(content, "PNG")
    contents = {"image": content.getvalue(), "damaged": content.getvalue()[:-30], "empty": b""}
    for kind, folders, name, what in tree:
        path = top.joinpath(*folders, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                continue
            if kind == "file":
                path.write_bytes(contents[what])
            elif kind == "folder":
                path.mkdir()
            else:
                path.symlink_to(what)
        except OSError:  # a file or a link to nowhere is in the way
            continue
    return top


def hidden(name):
    return name.startswith(".") or name in THUMBNAILS


def reachable(top):
    """The image files below a folder by a plain search, each by the folder that it really lies in."""
    entered, waiting, files = set(), [os.path.realpath(top)], set()
    while waiting:
        folder = waiting.pop()
        if folder in entered:
            continue
        entered.add(folder)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if hidden(name):
                continue
            if os.path.isdir(path):
                waiting.append(os.path.realpath(path))
            elif name.lower().endswith(image_endings()):
                files.add(path)
    return files


def place(name):
    """What a file's place in the order goes by: its folder at the top, its folder, its name."""
    folder, _, file = name.rpartition("/")
    return folder.partition("/")[0], folder, file


@given(TREES)
def test_every_image_below_a_folder_is_found_once(tree):
    with tempfile.TemporaryDirectory() as root:
        top = grow(Path(root), tree)
        names, tops, passed = find_images(str(top))
        real = [
            os.path.join(os.path.realpath(top / os.path.dirname(name)), os.path.basename(name)) for name in names
        ]
        assert len(set(real)) == len(real) and set(real) == reachable(top)
        assert not any(hidden(part) for name in names for part in name.split("/"))
        assert tops == sorted(tops) and {name.split("/")[0] for name in names if "/" in name} <= set(tops)
        assert names == sorted(names, key=place) and len(str(passed).splitlines()) <= 1


@given(TREES, st.integers(0, 3))
def test_a_folder_gives_views_or_one_sentence(tree, seed):
    with tempfile.TemporaryDirectory() as root:
        top = grow(Path(root), tree)
        config = Config(data="imagefolder", data_dir=str(top), image_size=8, batch_size=2, device="cpu", seed=seed)
        try:
            data = open_training_data(config, Processes(), CPU)
            with closing(data.views(0)) as views:
                steps = [next(views) for _ in range(data.steps_per_epoch)]
        except TrainerError as error:
            assert len(str(error).splitlines()) == 1
        else:
            names, rows = set(ImageFiles(top, 0).names()), 2 * data.steps_per_epoch
            assert len(names) == data.images and data.images - rows < 2
            left_out = [image.name for step in steps for image in step.unreadable]
            assert set(left_out) <= names and len(set(left_out)) == len(left_out) < rows
            assert all(step.a.isfinite().all() and step.a.shape == (2, 3, 8, 8) for step in steps)
        try:
            labelled = ImageFiles(top, 0, labelled=True)
        except TrainerError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert np.bincount(labelled.labels, minlength=labelled.classes).min() > 0
            assert set(labelled.names()) == {name for name in ImageFiles(top, 0).names() if "/" in name}


@given(TREES, TREES)
def test_labels_are_lacking_where_an_evaluation_would_be_refused(train, held_out):
    with tempfile.TemporaryDirectory() as root:
        parts = (grow(Path(root) / name, tree) for name, tree in (("t", train), ("v", held_out)))
        for part, top in zip(("train", "val"), parts, strict=True):
            (Path(root) / part).symlink_to(top)
        config = Config(data="imagefolder", data_dir=root, image_size=8, batch_size=2, device="cpu")
        lacking = lacking_labels(config)
        try:
            opened = [open_labelled(config, part) for part in ("train", "test")]
        except TrainerError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert lacking is None and all(len(part.labels) for part in opened)
