"""Copies of what the package is built from, and of what an sdist holds."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("setup.py", "build_cuda.py", "pyproject.toml", "LICENSE", "README.md", "bt_kernels", "csrc")
# What an sdist has besides: enough to test it, and to work on it.
TESTED_WITH = (
    *("tests", "benchmarks", "docs", "examples", "findings", "Makefile", "MANIFEST.in", ".clang-format"),
    *("requirements.txt", "requirements-peers.txt", "CHANGELOG.md", "CONTRIBUTING.md"),
)
NOT_SOURCES = shutil.ignore_patterns("*.so", "_build_report.json", "__pycache__", "*.egg-info", "build")


def copy_of_sources(folder: Path, names: tuple[str, ...] = SOURCES) -> Path:
    """Copies them to folder/tree, which this returns."""
    tree = folder / "tree"
    tree.mkdir()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=NOT_SOURCES)
        elif source.exists():
            shutil.copy(source, tree)
    return tree
