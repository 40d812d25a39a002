"""The packages that the trainer needs beside the library's own: asked for before a run, not days into it."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version

# The extra "trainer" of pyproject.toml, by the names that are imported.
PACKAGES = (
    "torchvision",
    "numpy",
    "PIL",
    "sklearn",
    "scipy",
    "joblib",
    "threadpoolctl",
    "tqdm",
    "matplotlib",
    "yaml",
    "safetensors",
    "typing_extensions",
)


def missing_packages() -> list[str]:
    return [package for package in PACKAGES if importlib.util.find_spec(package) is None]


def require_packages() -> None:
    """End the program with a sentence if a package is missing; some are imported only where they are used."""
    if missing := missing_packages():
        # Without the last word, pip would take the newest torchvision and the torch that goes with it.
        command = f"pip install 'bt_kernels[trainer]' torch=={version('torch')}"
        sys.exit(f"error: the trainer needs {', '.join(missing)}; run: {command}")
