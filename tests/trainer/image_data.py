"""Small image folders, tar files and configurations that the tests of the data make for themselves."""

import io
import tarfile

import numpy as np
from PIL import Image

from bt_kernels.trainer.config import Config


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
