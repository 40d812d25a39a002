#!/usr/bin/env bash
# Pillow 13.0.0: a 16-bit grey PNG converted to RGB is one white picture, without a warning. Values above 255 are cut off
# and not scaled. The loader of torchvision's ImageFolder is this conversion, so a folder of X-ray, microscope or
# depth images trains on white.
#
# Seen: a PNG with 3,303 grey levels between 1,001 and 14,999 opens with all of them (mode I;16); convert("RGB") has
# the value 255 everywhere. A float TIFF of values between 0 and 1, opened as mode F, becomes 0 everywhere: black.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import PIL
from PIL import Image

warnings.simplefilter("error")
y, x = np.mgrid[:64, :64]
waves = np.sin(x / 5) * np.cos(y / 7)
Image.fromarray((8000 + 7000 * waves).astype(np.uint16)).save("grey.png")
Image.fromarray(((1 + waves) / 2).astype(np.float32)).save("float.tiff")
found = {}
for name in ("grey.png", "float.tiff"):
    with Image.open(name) as image:
        levels = np.unique(np.asarray(image)).size
        found[name] = image.mode, levels, np.unique(np.asarray(image.convert("RGB"))).tolist()
print(f"Pillow {PIL.__version__}: mode, levels in the file, values in RGB: {found}")
assert found["grey.png"] == ("I;16", 3303, [255]), "16-bit grey has changed"
assert found["float.tiff"][0] == "F" and found["float.tiff"][2] == [0], "float TIFF has changed"
PY
