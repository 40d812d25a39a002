"""Checkpoints: the last few, written atomically, read without running the file's code, refused with a reason."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run.files import write_atomically

FORMAT = 3
KEYS = {"format", "config", "training"}
_NAME = "step-{:08d}.pt"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, one file a step, in ``folder``."""

    folder: Path

    def path(self, step: int) -> Path:
        """The file of the checkpoint after ``step`` steps."""
        return self.folder / _NAME.format(step)

    def steps(self) -> list[int]:
        """The steps that there are files of, in order."""
        return sorted(int(path.stem[5:]) for path in self.folder.glob("step-*.pt") if path.stem[5:].isdigit())

    def save(self, step: int, config: dict[str, Any], training: dict[str, Any]) -> None:
        """Add the checkpoint after ``step`` steps.

        Args:
            step: Names the file; one that is there already is replaced as a whole.
            config: The run's options.
            training: ``Pretraining.state_dict()``.

        Raises:
            TrainerError: it cannot be written; what was there is unchanged.
        """
        content = {"format": FORMAT, "config": config, "training": training}
        write_atomically(self.path(step), lambda temporary: _save(content, temporary))

    def keep(self, count: int) -> None:
        """Remove all but the latest ``count`` checkpoints."""
        for step in self.steps()[:-count]:
            self.path(step).unlink(missing_ok=True)

    def load_latest(self, warn: Callable[[str], None]) -> dict[str, Any]:
        """Return the latest readable checkpoint, tensors on the CPU.

        A file that cannot be read is said to ``warn`` and renamed, so that it is not taken for one again.

        Raises:
            TrainerError: there is none.
        """
        steps = self.steps()
        if not steps:
            raise TrainerError(f"nothing to resume: there is no checkpoint in {self.folder}")
        for step in reversed(steps):
            path = self.path(step)
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                if step == steps[0]:
                    raise TrainerError(f"{error}; no checkpoint is left, start a new run") from error
                warn(f"{error}; going on from the checkpoint before it")
                path.rename(path.with_suffix(".pt.damaged"))
        raise AssertionError("the loop returns or raises")


class DamagedCheckpoint(TrainerError):
    """A file that is no checkpoint, or no longer one."""


class _File:
    """A file for torch.save, which hides the operating system's error behind one of its own."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.refusal: OSError | None = None

    def write(self, part: Any) -> int:
        try:
            return self._file.write(part)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _save(content: dict[str, Any], path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        target = _File(file)
        try:
            torch.save(content, target)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise target.refusal or OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint at ``path``, tensors on the CPU.

    Raises:
        DamagedCheckpoint: it is damaged, or no checkpoint at all.
        TrainerError: it is missing, cannot be read, or is another version's.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.save writes checksums, and torch.load does not look at them
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainerError(f"there is no checkpoint at {path}") from None
    except (OSError, MemoryError) as error:  # the file may be whole: it must not be taken for a damaged one
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise TrainerError(f"cannot read {path}: {reason}") from error
    except Exception as error:  # damaged content makes the unpickler raise anything
        raise DamagedCheckpoint(f"{path} is damaged or no checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or set(content) != KEYS or type(content["format"]) is not int:
        raise DamagedCheckpoint(f"{path} is no checkpoint of this trainer")
    if content["format"] != FORMAT:
        raise TrainerError(
            f"{path} is of another version of this trainer (format {content['format']}, not {FORMAT}); "
            "go on with that version, or start a new run"
        )
    return content
