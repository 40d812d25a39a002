#!/usr/bin/env bash
# webdataset 1.0.2: links in a tar are left out without a word, symbolic and hard ones. tar stores a hard link for every
# file that it meets a second time, and symbolic ones for data sets that are folders of links, unless it is told to
# --dereference: such a shard is short of images, or has none.
#
# Seen: of a tar with one JPEG, a symbolic link and a hard link to it, all with names of their own, WebDataset yields one
# sample, the JPEG's, and no warning. Python's tarfile reads all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check webdataset==1.0.2 numpy==2.2.6 pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import os
import tarfile
import warnings
from importlib.metadata import version

from PIL import Image

Image.new("RGB", (8, 8), "red").save("0001.jpg")
os.symlink("0001.jpg", "0002.jpg")
os.link("0001.jpg", "0003.jpg")
names = ["0001.jpg", "0002.jpg", "0003.jpg"]
with tarfile.open("shard.tar", "w") as tar:
    for name in names:
        tar.add(name)
with tarfile.open("shard.tar") as tar:
    readable = [name for name in names if tar.extractfile(name).read()]

warnings.simplefilter("error", UserWarning)
import webdataset  # noqa: E402

keys = [sample["__key__"] for sample in webdataset.WebDataset("shard.tar", shardshuffle=False)]
print(f"webdataset {version('webdataset')}: tarfile reads {readable}, WebDataset yields {keys}")
assert readable == names, "the tar is not as meant"
assert keys == ["0001"], "webdataset's reading of links has changed"
PY
