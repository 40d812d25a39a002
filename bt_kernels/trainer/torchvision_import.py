"""Import torchvision beside a CPU-only PyTorch.

The package index serves torchvision built for CUDA. Beside a CPU-only PyTorch its compiled operators do not
load, and the import stops at the first one it decorates ("operator torchvision::nms does not exist").
Models and transforms need none of those operators, so declaring the schemas is enough; calling one of them
still raises.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_BOX_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declarations: list[torch.library.Library] = []  # a Library undoes its definitions when it is collected


def import_torchvision() -> ModuleType:
    """Return the ``torchvision`` package, importable beside a CPU-only PyTorch.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision cannot be imported for a reason other than the missing box operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if torch.version.cuda is not None or "operator torchvision::nms does not exist" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _BOX_OPERATOR)
    _declarations.append(library)
    return importlib.import_module("torchvision")
