"""The run folder: where each file lies, and whether a run may start or go on there."""

from __future__ import annotations

import fcntl
import os
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.checkpoint import Checkpoints
from bt_kernels.trainer.run.files import remove_debris


class FolderLock(AbstractContextManager["FolderLock"]):
    """Keeps other processes out of a run folder until it is closed, or its process ends, however that may be.

    Args:
        root: The folder, which exists.

    Raises:
        TrainerError: another process has locked it.
    """

    def __init__(self, root: Path) -> None:
        # The folder itself is locked, so nothing is left behind when the process is killed.
        self._descriptor = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise TrainerError(
                f"another process is training in {root}; end it or choose another --run-dir"
            ) from None
        except OSError:
            pass  # a file system without locks: nothing is known about other processes
        self._open = True
        # One that reads images outlives a killed run by seconds, in which a restarted one must not be refused.
        os.register_at_fork(after_in_child=self._close)

    def __exit__(self, *raised: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files below ``root``."""

    root: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, JSON; YAML's parser reads it, too, so --config takes it."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per training step."""
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def checkpoints(self) -> Checkpoints:
        """Everything that training goes on from, at several steps."""
        return Checkpoints(self.root / "checkpoints")

    @property
    def summary(self) -> Path:
        """The result, JSON; written last, so it marks a finished run."""
        return self.root / "summary.json"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.root / "pictures"

    @property
    def finished(self) -> bool:
        """Whether the run here has come to its end."""
        return self.summary.exists()

    @property
    def finished_sentence(self) -> str:
        """What there is to say of a finished run that is to go on, without a full stop."""
        steps = self.checkpoints.steps()
        source = self.checkpoints.path(steps[-1]) if steps else "a checkpoint of it"
        return (
            f"{self.root} holds a finished run; to train it longer, start one in another --run-dir with more "
            f"--epochs and --continue-from {shlex.quote(str(source))}"
        )

    @property
    def unreadable(self) -> Path:
        """The images that could not be read and why, one a line; there is no file while all could."""
        return self.root / "unreadable.txt"

    def open_new(self) -> FolderLock:
        """Create the folder for a new run, and lock it.

        Returns:
            The lock, to be kept as long as the run.

        Raises:
            TrainerError: it holds a run already, another process runs here, or it cannot be written.
        """
        if self.finished:
            raise TrainerError(f"{self.root} already holds a finished run; choose another --run-dir")
        if self.checkpoints.steps():
            raise TrainerError(
                f"{self.root} holds an unfinished run; go on with it by --resume or choose another --run-dir"
            )
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
            self.checkpoints.folder.mkdir(exist_ok=True)
            lock = FolderLock(self.root)
            self._remove_debris()
            self.metrics.write_text("")
            self.unreadable.unlink(missing_ok=True)
        except OSError as error:
            raise TrainerError(f"cannot write to the run folder {self.root}: {error.strerror}") from None
        return lock

    def open_existing(self) -> FolderLock:
        """Check that there is a run to go on with, and lock it; return the lock as ``open_new`` does.

        Raises:
            TrainerError: there is none, it is finished, or another process runs here.
        """
        if self.finished:
            raise TrainerError(self.finished_sentence)
        if not self.checkpoints.steps():
            raise TrainerError(f"nothing to resume: there is no checkpoint in {self.checkpoints.folder}")
        lock = FolderLock(self.root)
        self._remove_debris()
        self.pictures.mkdir(exist_ok=True)
        return lock

    def _remove_debris(self) -> None:
        for folder in (self.root, self.checkpoints.folder):
            remove_debris(folder)
