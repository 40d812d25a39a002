"""The run folder: where each file lies, and whether a run may start or go on there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bt_kernels.trainer.errors import TrainerError


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files below ``root``."""

    root: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, JSON."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per training step."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Everything that training goes on from."""
        return self.root / "checkpoint.pt"

    @property
    def summary(self) -> Path:
        """The result, JSON; written last, so it marks a finished run."""
        return self.root / "summary.json"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.root / "pictures"

    def backbone(self, architecture: str) -> Path:
        """Exported state_dict of the backbone."""
        return self.root / f"{architecture}.pth"

    def open_new(self) -> None:
        """Create the folder for a new run.

        Raises:
            TrainerError: it holds a run already, or cannot be written.
        """
        self._refuse_finished()
        if self.checkpoint.exists():
            raise TrainerError(
                f"{self.root} holds an unfinished run; go on with it by --resume or choose another --run-dir"
            )
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
            self.metrics.write_text("")
        except OSError as error:
            raise TrainerError(f"cannot write to the run folder {self.root}: {error.strerror}") from None

    def open_existing(self) -> None:
        """Check that there is a run to go on with.

        Raises:
            TrainerError: there is none, or it is finished.
        """
        self._refuse_finished()
        if not self.checkpoint.exists():
            raise TrainerError(f"nothing to resume: there is no checkpoint at {self.checkpoint}")

    def _refuse_finished(self) -> None:
        if self.summary.exists():
            raise TrainerError(f"{self.root} already holds a finished run; choose another --run-dir")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Replace ``path`` by what ``write`` puts into a temporary file: complete and on the disk, or unchanged.

    Raises:
        TrainerError: the disk refuses.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, must survive a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise TrainerError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_atomically(path, lambda temporary: _dump(temporary, content))


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
