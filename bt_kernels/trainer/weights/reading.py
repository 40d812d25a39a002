"""Reads files of weights without running code from them: PyTorch's own and safetensors."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bt_kernels.trainer.errors import TrainerError

SAFETENSORS = ".safetensors"


def _filter_of_the_authors(parameter: torch.Tensor) -> bool:
    """Stands for ``exclude_bias_and_norm``, which the state of the authors' optimizer refers to."""
    return parameter.ndim == 1


_FUNCTIONS: list[Any] = [(_filter_of_the_authors, "__main__.exclude_bias_and_norm")]


def read_content(path: Path, lazily: bool = False) -> Any:
    """Return what a file holds, tensors on the CPU.

    Args:
        path: Written by ``torch.save`` or, ending in .safetensors, by safetensors.
        lazily: Leave the tensors on the disk until they are used, where the file's format can.

    Raises:
        TrainerError: it is missing, cannot be read, is damaged, is another kind of file, or holds objects that
            only running its code would make.
    """
    _check_readable(path)
    try:
        if path.suffix == SAFETENSORS:
            return load_file(path)
        with torch.serialization.safe_globals(_FUNCTIONS):
            mapped = lazily and zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a file that is something else can make a parser raise anything
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is not None:
            raise TrainerError(
                f"{path} holds Python objects ({forbidden[1]}), which are not loaded because they can run code; "
                "save the model's state_dict() instead"
            ) from error
        raise _damaged(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the notes in a safetensors file; none from another one.

    Raises:
        TrainerError: it is missing or damaged.
    """
    if path.suffix != SAFETENSORS:
        return {}
    _check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _damaged(path, error) from error


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise TrainerError(f"there is no file of weights at {path}") from None
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from None


def _damaged(path: Path, error: Exception) -> TrainerError:
    return TrainerError(f"{path} is damaged or no file of weights ({type(error).__name__})")
