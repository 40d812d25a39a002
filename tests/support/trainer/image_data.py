"""Small image folders, tar files and configurations that the tests of the data make for themselves."""

import io
import struct
import tarfile
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from bt_kernels.trainer.config import Config

needs_webdataset = pytest.mark.skipif(find_spec("webdataset") is None, reason="no webdataset")


def picture(number, side=20):
    """A smooth coloured image, another one for every number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side + number % 5, side), Image.Resampling.BICUBIC)


def encoded(number):
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def write_folder(root, classes=3, images=4):
    """An image folder, ``images`` files in each class folder."""
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(images):
            (folder / f"{number}.png").write_bytes(encoded(label * images + number))
    return root


def write_shard(path, numbers, also=()):
    """A shard of images with labels, one sample for each number, then the files of ``also`` (name, content)."""
    files = []
    for number in numbers:
        files += [(f"{number:04}.png", encoded(number)), (f"{number:04}.cls", b"3")]
    with tarfile.open(path, "w") as tar:
        for name, content in [*files, *also]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def photograph_config(folder, **options):
    """A run on the image folders below ``folder``; of shards with ``shards``."""
    defaults = {"data": "imagefolder", "image_size": 12, "batch_size": 4, "device": "cpu"}
    return Config(**{**defaults, "data_dir": str(folder), **options})


def tiff(values):
    """A grey TIFF of a NumPy array's own type and byte order."""
    order, height, width = values.dtype.str[0].replace("|", "<"), *values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [
        (256, width), (257, height), (258, 8 * values.dtype.itemsize), (259, 1), (262, 1), (273, 8), (277, 1),
        (278, height), (279, values.nbytes), (339, kind),
    ]  # fmt: skip
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + values.nbytes)
    fields = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return head + values.tobytes() + struct.pack(f"{order}H", len(tags)) + fields + bytes(4)


def png(values):
    """A 16-bit PNG of (H, W, 3)."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
