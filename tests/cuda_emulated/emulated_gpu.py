"""A library of kernels that build() made, called from Python."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

# How threads and asynchronous instructions are ordered (include/emulated/asynchrony.h); from 4 on seeds of RANDOM.
EARLY, LATE, RANDOM, CROSSED = range(4)
MODES = {"early": EARLY, "late": LATE, "random": RANDOM, "crossed": CROSSED}

LAUNCH_FAILURE = 719


class EmulatedGpu:
    """Kernels by the names of the functions that launch them and return a cudaError_t; tensors become pointers."""

    def __init__(self, path: Path):
        self.library = ctypes.CDLL(str(path))
        self.library.bt_emulated_failure.restype = ctypes.c_char_p

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = getattr(self.library, name)

        def argument(value):
            return ctypes.c_void_p(value.data_ptr()) if isinstance(value, torch.Tensor) else ctypes.c_int64(value)

        return lambda *arguments: function(*map(argument, arguments))

    def failure(self) -> str:
        """Of the last kernel that failed."""
        return self.library.bt_emulated_failure().decode()

    def message_of(self, error: int) -> str:
        """What is wrong with the kernel whose launch returned the error, and there must be something."""
        assert error == LAUNCH_FAILURE, error
        return self.failure()

    def reset(self) -> None:
        """A Hopper GPU, random order."""
        self.bt_emulated_asynchrony(RANDOM)
        self.bt_emulated_gpu(90, 4, 232448, 16)
