"""Checkpoints: written atomically, read without running code from the file, refused with a reason."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.run_folder import write_atomically

FORMAT = 1
KEYS = {"format", "config", "training"}


def save_checkpoint(path: Path, config: dict[str, Any], training: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path``.

    Args:
        path: Destination; it holds the old checkpoint or the whole new one at any moment.
        config: The run's options.
        training: ``Pretraining.state_dict()``.

    Raises:
        TrainerError: it cannot be written.
    """
    content = {"format": FORMAT, "config": config, "training": training}
    write_atomically(path, lambda temporary: _save(content, temporary))


def _save(content: dict[str, Any], path: Path) -> None:
    try:
        torch.save(content, path)
    except RuntimeError as error:  # what torch raises for a full disk
        raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint at ``path``, tensors on the CPU.

    Raises:
        TrainerError: it is missing, damaged, or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainerError(f"nothing to resume: there is no checkpoint at {path}") from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise TrainerError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); start a new run"
        ) from error
    if not isinstance(content, dict) or set(content) != KEYS or content["format"] != FORMAT:
        raise TrainerError(f"{path} is no checkpoint of this trainer (format {FORMAT}); start a new run")
    return content
