"""What the ops launch on a GPU that need not be here: their own host side runs, its launches are written down."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

OPERANDS = ("ieee", "tf32", "bfloat16", "float16")  # in the order of loss.h


@dataclass(frozen=True)
class Gpu:
    name: str
    capability: int
    arch: str  # of what is compiled here, the closest
    multiprocessors: int
    shared_bytes: int  # of a block
    shared_of_multiprocessor: int
    threads_of_multiprocessor: int
    max_cluster: int

    def __str__(self) -> str:
        return self.name


GPUS = (
    Gpu("A100", 80, "sm_80", 108, 163 << 10, 164 << 10, 2048, 1),
    Gpu("A10", 86, "sm_80", 72, 99 << 10, 100 << 10, 1536, 1),
    Gpu("L40S", 89, "sm_80", 142, 99 << 10, 100 << 10, 1536, 1),
    Gpu("H200", 90, "sm_90a", 132, 227 << 10, 228 << 10, 2048, 16),
    Gpu("B200", 100, "sm_100a", 148, 227 << 10, 228 << 10, 2048, 16),
    Gpu("RTX_5090", 120, "sm_100a", 170, 99 << 10, 100 << 10, 1536, 8),
)


class Call(NamedTuple):
    """Forward and backward of one loss."""

    formulation: str
    operands: str
    n: int
    d: int
    views: int = 3  # bits: which gradients are needed
    halves: bool = False  # of the forward

    @property
    def ops(self) -> list[str]:
        parts = ("partial", "total") if self.halves else ("forward",)
        return [f"{self.formulation}_{part}" for part in (*parts, "backward")]


class Launch(NamedTuple):
    kernel: str  # the instance
    blocks: int
    threads: int
    shared_bytes: int
    cluster: int
    dependent: bool


class GpuStruct(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("capability", "multiprocessors", "shared_bytes", "max_cluster")]


LAUNCHED = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, *[ctypes.c_int] * 4)


class Recorder:
    """record_launches.cu. instances: by mangled name."""

    def __init__(self, library: Path, instances: dict[str, str]) -> None:
        self.library, self.instances = ctypes.CDLL(str(library), os.RTLD_LAZY), instances
        int64, pointer = ctypes.c_int64, ctypes.POINTER(GpuStruct)
        sizes = [ctypes.c_int, int64, int64, ctypes.c_int, ctypes.c_int]
        self.library.record.argtypes = [ctypes.c_char_p, *sizes, pointer, LAUNCHED]

    def launches(self, gpu: Gpu, call: Call) -> list[list[Launch]]:
        """For each of the call's ops."""
        return [self.launches_of_op(gpu, call, op) for op in call.ops]

    def launches_of_op(self, gpu: Gpu, call: Call, op: str) -> list[Launch]:
        found = []

        @LAUNCHED
        def launched(kernel, blocks, threads, shared_bytes, cluster, dependent):
            instance = self.instances[kernel.decode()]
            found.append(Launch(instance, blocks, threads, shared_bytes, cluster, bool(dependent)))

        here = GpuStruct(gpu.capability, gpu.multiprocessors, gpu.shared_bytes, gpu.max_cluster)
        sizes = OPERANDS.index(call.operands), call.n, call.d, call.views, call.halves
        error = self.library.record(op.encode(), *sizes, ctypes.byref(here), launched)
        assert error == 0, f"{op} of {call} on {gpu}: CUDA's error {error}"
        return found

    def resident_blocks(self, gpu: Gpu, registers: int, threads: int, static: int, dynamic: int) -> int:
        """Blocks that a multiprocessor holds; 0 if there is no room for one."""
        limits = gpu.capability, gpu.threads_of_multiprocessor, gpu.shared_of_multiprocessor
        return self.library.resident_blocks(*limits, registers, threads, static, dynamic)
