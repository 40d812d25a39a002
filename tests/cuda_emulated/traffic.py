"""What the CUDA kernels read and write, counted on the emulated GPU.

    python -m cuda_emulated.traffic LIBRARY CELL ...

LIBRARY is one that build(counts=True) made; a CELL is formulation:dtype:N:D:GPU. Prints JSON. count() runs this
in a process of its own, because a process can have one library with these ops.
"""

import ctypes
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

SECTOR = 32  # bytes
SPACES = (None, "global", "shared", "distributed")
GPUS = {  # capability, multiprocessors, bytes of shared memory of a block, blocks of a cluster
    "H200": (90, 132, 227 << 10, 16),
    "A100": (80, 108, 163 << 10, 1),
}
ROOT = Path(__file__).parents[2]


class Cell(NamedTuple):
    formulation: str
    dtype: str
    n: int
    d: int
    gpu: str = "H200"

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "Cell":
        formulation, dtype, n, d, gpu = text.split(":")
        return cls(formulation, dtype, int(n), int(d), gpu)


class Access(NamedTuple):
    """One place of the code where a warp reads or writes, in all its turns."""

    where: str  # files and lines, the innermost first
    space: str
    write: bool
    bytes: int  # of a lane
    requests: int  # of warps
    lanes: int
    units: int  # sectors of global memory; cycles of shared memory
    least: int  # that as many bytes need


@dataclass(frozen=True)
class KernelTraffic:
    kernel: str
    read: int  # bytes of global memory, each sector once
    written: int
    boxes: int  # bytes that TMA copies, each as often as it is copied
    flops: int  # of matrix instructions
    accesses: tuple[Access, ...]


def count(library: Path, cells: list[Cell]) -> dict[Cell, list[KernelTraffic]]:
    """The launches of a forward and backward of each cell, in their order."""
    command = [sys.executable, "-m", "tests.cuda_emulated.traffic", str(library), *map(str, cells)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {
        cell: [kernel_of(entry) for entry in kernels]
        for cell, kernels in zip(cells, json.loads(printed), strict=True)
    }


def kernel_of(entry: dict) -> KernelTraffic:
    return KernelTraffic(**{**entry, "accesses": tuple(Access(*access) for access in entry["accesses"])})


def count_here(library: Path, cells: list[Cell]) -> list[list[KernelTraffic]]:
    sys.path.insert(0, str(ROOT))
    import torch

    from bt_kernels import barlow_twins_loss
    from bt_kernels.backends import cuda

    cuda.emulate(library)
    emulated = ctypes.CDLL(str(library))
    emulated.bt_emulated_traffic.restype = ctypes.c_char_p
    texts = []
    for cell in cells:
        torch.manual_seed(0)
        emulated.bt_emulated_gpu(*GPUS[cell.gpu])
        dtype = getattr(torch, cell.dtype.replace("tf32", "float32"))
        torch.backends.cuda.matmul.fp32_precision = "tf32" if cell.dtype == "tf32" else "ieee"
        views = [torch.randn(cell.n, cell.d).to(dtype).requires_grad_() for _ in range(2)]
        barlow_twins_loss(*views, backend="cuda", formulation=cell.formulation).backward()
        texts.append(emulated.bt_emulated_traffic().decode())
    kernels, places = symbols(library), source_lines(library, "".join(texts))
    return [parse(text, kernels, places) for text in texts]


def symbols(library: Path) -> dict[int, str]:
    command = ["nm", "-C", "--defined-only", str(library)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {int(address, 16): name for address, _, name in (line.split(" ", 2) for line in lines)}


def source_lines(library: Path, text: str) -> dict[int, str]:
    """Place of the code -> the lines that it comes from, with those that it is inlined in."""
    places = sorted({int(line.split()[0], 16) for line in text.splitlines() if not line.startswith("kernel")})
    # A place is where the call returns to: its own line is that of the byte before.
    asked = "\n".join(hex(place - 1) for place in places)
    command = ["addr2line", "--addresses", "--inlines", "--basenames", "--exe", str(library)]
    printed = subprocess.run(command, input=asked, check=True, capture_output=True, text=True).stdout
    found, lines = {}, []
    for line in printed.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            found[int(line, 16) + 1] = lines = []
        else:
            lines.append(line.split(" ")[0])
    return {place: " < ".join(lines) for place, lines in found.items()}


def parse(text: str, kernels: dict[int, str], places: dict[int, str]) -> list[KernelTraffic]:
    found: list[tuple[KernelTraffic, list[Access]]] = []
    for line in text.splitlines():
        first, *numbers = line.split()
        if first == "kernel":
            address, read, written, boxes, flops = numbers
            name = re.search(r"(\w+)_kernel", kernels[int(address, 16)])[1]
            sizes = int(read) * SECTOR, int(written) * SECTOR, int(boxes), int(flops)
            found.append((KernelTraffic(name, *sizes, ()), []))
        else:
            space, write, *counts = map(int, numbers)
            found[-1][1].append(Access(places[int(first, 16)], SPACES[space], bool(write), *counts))
    return [KernelTraffic(**{**asdict(kernel), "accesses": tuple(accesses)}) for kernel, accesses in found]


if __name__ == "__main__":
    library, *cells = sys.argv[1:]
    print(json.dumps([[asdict(k) for k in x] for x in count_here(Path(library), list(map(Cell.parse, cells)))]))
