"""What the suite runs on, as --device says. conftest.py chooses it before any test module is imported.

cpu           the cpu and eager backends
interpreter   the triton backend, its kernels run by Triton's interpreter on CPU tensors: right and wrong are the
              same as on a GPU, a launch takes about 30 ms
emulated      the cuda backend, its kernels compiled for the CPU, which runs each thread of a GPU (cuda_emulated/)
cuda          the cuda, triton and eager backends on the GPU
"""

from pathlib import Path
from typing import TypeVar

import torch

BACKENDS = {
    "cpu": ("cpu", "eager"),
    "interpreter": ("triton",),
    "emulated": ("cuda",),
    "cuda": ("cuda", "triton", "eager"),
}
# Their kernels take what a GPU's matrix units take: no float64, and 16-bit operands as they are.
NARROW = ("cuda", "triton")
T = TypeVar("T")

_chosen = "cpu"
_asked = False
_emulated_library: Path


def choose(name: str) -> None:
    """Raises RuntimeError where a module has been imported that asked before, and was told of another."""
    global _chosen
    if _asked and name != _chosen:
        raise RuntimeError(f"a conftest.py imports what asks for the device before --device {name} is read")
    _chosen = name


def name() -> str:
    global _asked
    _asked = True
    return _chosen


def device() -> torch.device:
    """Where the embeddings of the tests lie."""
    return torch.device("cuda", torch.cuda.current_device()) if name() == "cuda" else torch.device("cpu")


def set_emulated_library(library: Path) -> None:
    global _emulated_library
    _emulated_library = library


def emulated_library() -> Path:
    """The kernels compiled for the CPU, with --device emulated."""
    return _emulated_library


def few(all_of_them: T, on_a_cpu: T) -> T:
    """The second where a GPU's kernels run on a CPU and a run of the loss takes a fifth of a second."""
    return on_a_cpu if name() in ("interpreter", "emulated") else all_of_them


def few_kinds(all_of_them: T, for_triton: T) -> T:
    """The second wherever a GPU's kernels run: Triton's are compiled again for each kind of dtype, shape and
    stride, which takes a second on a GPU."""
    return all_of_them if name() == "cpu" else for_triton
