"""The trained backbone as files that other programs read: a state_dict in .pth and in safetensors."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from bt_kernels import __version__
from bt_kernels.trainer.augmentation.photographs import IMAGENET_MEAN, IMAGENET_STD
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.run.files import write_atomically
from bt_kernels.trainer.weights.reading import SAFETENSORS


def backbone_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return where the backbone called ``name`` is exported to: its .pth and its .safetensors."""
    stem = name.replace("/", "_").replace(":", "_")  # of timm's names
    return folder / f"{stem}.pth", folder / f"{stem}{SAFETENSORS}"


def export_backbone(backbone: nn.Module, folder: Path, config: Config) -> tuple[Path, Path]:
    """Write the backbone's state_dict, with the keys of the model it is, without its classifier.

    A ResNet's .pth goes into ``torchvision.models.<name>().load_state_dict(..., strict=False)``; the features are
    the same if the shortcuts are strided. What the weights alone do not say is in the safetensors file's
    metadata: the backbone's name, stem and shortcuts, the images' size and how they were normalised.

    Args:
        backbone: On any device, whole.
        folder: An existing folder.
        config: Of the run.

    Returns:
        The files' paths, .pth and .safetensors.

    Raises:
        TrainerError: they cannot be written.
    """
    # Copies, because safetensors takes no two tensors that share memory.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.state_dict().items()
    }
    metadata = {
        "format": "pt",  # transformers asks for it
        "data": config.data,
        "backbone": config.backbone,
        "stem": config.stem,
        "shortcuts": config.shortcuts,
        "image_size": str(config.image_size),
        **normalisation(config.data),
        "bt_kernels": __version__,
    }
    pth, safetensors = backbone_files(folder, config.backbone)
    buffer = io.BytesIO()  # writing to a full disk by itself, PyTorch raises what cannot be told from other errors
    torch.save(weights, buffer)
    write_atomically(pth, lambda temporary: _write(temporary, buffer.getbuffer()))
    write_atomically(safetensors, lambda temporary: _write(temporary, in_order(save(weights, metadata))))
    return pth, safetensors


def normalisation(data: str) -> dict[str, str]:
    """Return the mean and standard deviation that a data set's images are normalised by, as metadata."""
    digits = data == "digits"  # in [0, 1], as they are
    return {
        "mean": ",".join(map(str, (0.0, 0.0, 0.0) if digits else IMAGENET_MEAN)),
        "std": ",".join(map(str, (1.0, 1.0, 1.0) if digits else IMAGENET_STD)),
    }


def in_order(content: bytes) -> bytes:
    """Return a safetensors file's content with sorted metadata: safetensors gives them a random order.

    The format is the header's length in 8 bytes, the header as JSON padded with spaces, the tensors.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _write(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)
