"""The packages that the trainer needs beside the library's own: asked for before a run, not days into it."""

from __future__ import annotations

import importlib.util
import sys

PACKAGES = ("torchvision", "sklearn", "scipy", "tqdm", "matplotlib", "yaml", "safetensors")


def require_packages() -> None:
    """End the program with a sentence if a package is missing; some are imported only where they are used."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            sys.exit(f"error: the trainer needs the package {package}; run: pip install 'bt_kernels[trainer]'")
