"""Reads files of weights, PyTorch's own and safetensors, and what they say; no code in them is run."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bt_kernels.trainer.errors import TrainerError

SAFETENSORS = ".safetensors"
DESCRIBED = ("backbone", "stem", "shortcuts", "image_size", "data", "mean", "std")  # in the metadata of an export

# What else lies under such names, by its first bytes, and what to do.
_OTHER_KINDS = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself by git lfs pull"),
    (b"<", "a web page; download the file itself"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\x89HDF", "HDF5, as Keras writes it; give PyTorch's weights"),
)


class StandIn:
    """In place of a Python object in a file, whose code is not run; empty."""

    origin = ""  # the class or function that it stands for

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_content(path: Path, lazily: bool = False) -> Any:
    """Return what a file holds, tensors on the CPU.

    Objects of other classes than PyTorch's and Python's own, such as hyperparameters, are ``StandIn``.

    Args:
        path: Written by ``torch.save`` or by safetensors.
        lazily: Leave the tensors on the disk until they are used, where the file's format can; then its checksums
            are not looked at.

    Raises:
        TrainerError: it is missing, cannot be read, is damaged or is another kind of file.
    """
    start = _start_of(path)
    try:
        if _is_safetensors(start):
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        if zipped and not lazily:  # torch.save writes checksums, and torch.load does not look at them
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
        return _load(path, mmap=lazily and zipped and path.suffix != SAFETENSORS)
    except TrainerError:
        raise
    except Exception as error:  # a file that is something else can make a parser raise anything
        raise _damaged(path, start, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the notes in a safetensors file; none from another one.

    Raises:
        TrainerError: it is missing or damaged.
    """
    start = _start_of(path)
    if not _is_safetensors(start):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _damaged(path, start, error) from error


def read_description(path: Path) -> Mapping[str, Any]:
    """Return what a file says of its backbone and how it was trained, by the options' names.

    It is a checkpoint's configuration, or the metadata of a .safetensors or of the one beside a .pth, which by
    itself says nothing; empty where there is neither.

    Raises:
        TrainerError: it cannot be read.
    """
    _start_of(path)
    described = path.with_suffix(SAFETENSORS) if path.suffix == ".pth" else path
    if described.suffix == SAFETENSORS and os.path.exists(described):  # False for whatever is wrong with the name
        metadata = read_metadata(described)
        said: dict[str, Any] = {name: metadata[name] for name in DESCRIBED if name in metadata}
        if str(said.get("image_size")).isdecimal():
            said["image_size"] = int(said["image_size"])
        return said
    content = read_content(path, lazily=True)
    config = content.get("config") if isinstance(content, dict) and "training" in content else None
    return config if isinstance(config, dict) else {}


def _load(path: Path, mmap: bool) -> Any:
    stand_ins: dict[str, type[StandIn]] = {}
    while True:
        allowed = torch.serialization.safe_globals([(kind, name) for name, kind in stand_ins.items()])
        try:
            with allowed, path.open("rb") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TorchScript and of old pickles: what fails is said
                source = path if mmap else file  # of a path PyTorch would believe its ending
                return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            if not _stand_in(stand_ins, str(error)):
                forbidden = re.search(r"GLOBAL (\S+)", str(error))
                if forbidden or stand_ins:
                    raise objects_inside(path, forbidden[1] if forbidden else [*stand_ins][-1]) from error
                raise


def _stand_in(stand_ins: dict[str, type[StandIn]], refusal: str) -> bool:
    """Add to the stand-ins what PyTorch refused for want of it; return whether there is something to add."""
    unknown = re.search(r"Unsupported global: GLOBAL (\S+)", refusal)
    if unknown is not None:
        name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
        if name in stand_ins:
            return False
        stand_ins[name] = type(f"StandIn for {name}", (StandIn,), {"origin": name})
        return True
    filled = re.search(r"Can only (SETITEM|append|extend).*StandIn for ([^']+)'", refusal, re.DOTALL)
    if filled is None:
        return False
    plain = dict if filled[1] == "SETITEM" else list  # it is a kind of it, such as Lightning's AttributeDict
    stand_ins[filled[2]] = type("StandIn", (StandIn,), {"__new__": lambda cls, *arguments: plain()})
    return True


def objects_inside(path: Path, name: str) -> TrainerError:
    """What there is to say of a file whose weights are inside of Python objects."""
    return TrainerError(
        f"{path} holds Python objects ({name}), which are not loaded because they can run code; save the model's "
        "state_dict() instead"
    )


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except FileNotFoundError:
        raise TrainerError(f"there is no file of weights at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise TrainerError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None


def _is_safetensors(start: bytes) -> bool:
    """Whether it begins with the length of a header in 8 bytes, and the header."""
    return start[8:9] == b"{"


def _damaged(path: Path, start: bytes, error: Exception) -> TrainerError:
    if not start:
        return TrainerError(f"{path} is empty")
    for begin, kind in _OTHER_KINDS:
        if start.lstrip().startswith(begin):
            return TrainerError(f"{path} is no file of weights but {kind}")
    if "TorchScript" in str(error):
        return TrainerError(f"{path} is a TorchScript program; save the module's state_dict() instead")
    if "DTensor" in str(error):
        return TrainerError(
            f"{path} holds parts of tensors that are spread over ranks; save whole tensors instead"
        )
    return TrainerError(f"{path} is damaged or no file of weights ({type(error).__name__})")
