"""Files that are complete and on the disk, or as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bt_kernels.trainer.errors import TrainerError

TEMPORARY = ".tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Replace ``path`` by what ``write`` puts into a temporary file: complete and on the disk, or unchanged.

    Raises:
        TrainerError: the disk refuses.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with writing(path):
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's errors, a full disk for one, into a TrainerError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise TrainerError(f"cannot write {path}: {error.strerror or error}") from error


def sync_folder(path: Path) -> None:
    """Make the names in the folder ``path`` survive a power cut, as fsync does a file's content."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_atomically(path, lambda temporary: _dump(temporary, content))


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def remove_debris(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``."""
    for temporary in folder.glob(f"*{TEMPORARY}"):
        temporary.unlink(missing_ok=True)
