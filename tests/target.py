"""What the suite runs on, as --device says. conftest.py chooses it before any test module is imported.

cpu           the cpu and eager backends
interpreter   the triton backend, its kernels run by Triton's interpreter on CPU tensors: right and wrong are the
              same as on a GPU, a launch takes about 30 ms
cuda          the triton and eager backends on the GPU
"""

from typing import TypeVar

import torch

BACKENDS = {"cpu": ("cpu", "eager"), "interpreter": ("triton",), "cuda": ("triton", "eager")}
T = TypeVar("T")

_chosen = "cpu"


def choose(name: str) -> None:
    global _chosen
    _chosen = name


def name() -> str:
    return _chosen


def device() -> torch.device:
    """Where the embeddings of the tests lie."""
    return torch.device("cuda", torch.cuda.current_device()) if _chosen == "cuda" else torch.device("cpu")


def few(all_of_them: T, interpreted: T) -> T:
    """The second in the interpreter, where a run of the loss takes a fifth of a second."""
    return interpreted if _chosen == "interpreter" else all_of_them


def few_kinds(all_of_them: T, for_triton: T) -> T:
    """The second wherever Triton's kernels run: on a GPU each is compiled again for each kind of dtype, shape and
    stride, which takes a second."""
    return all_of_them if _chosen == "cpu" else for_triton
