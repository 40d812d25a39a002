"""What a compiled kernel's machine code says, for the tests that compile for GPUs that need not be here.

ptxas's verbose log has the registers and its warnings; the SASS has the instructions, and with them the spills and
the loops: a branch backwards closes one.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

MATRIX = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}  # SASS of mma.sync, wgmma and tcgen05.mma
GLOBAL_LOADS = ("LDG", "LDGSTS")
SPILLS = ("LDL", "STL")
ENTRY = r"Compiling entry function '(\w+)' for '(\w+)'"  # in ptxas -v
REGISTERS, STACK, SHARED = r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes smem"
WARNING = r"warning|\(C\d+\)"  # ptxas calls lost performance an "info" with a number
UNROLLED = 64  # multiplications that a turn of a product's loop has without tensor cores, at the least
LISTING = re.compile(
    r"^(?:arch = (\w+)|\s+Function : (\w+)|\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)([^;\n]*);)",
    re.MULTILINE,
)
Code = TypeVar("Code", bound="MachineCode")
NUMBER = re.compile(r"\b0x([0-9a-f]+)\s*$")


class Instruction(NamedTuple):
    address: int
    opcode: str  # with its modifiers: LDG.E.128
    number: int | None  # the last operand, where it is one

    @property
    def base(self) -> str:
        return self.opcode.split(".")[0]

    @property
    def target(self) -> int | None:
        return self.number if self.base == "BRA" else None

    @property
    def bytes(self) -> int:
        """What a global access moves per thread; an access without a width in its name moves 4."""
        width = re.search(r"\.(?:U|S)?(8|16|64|128)\b", self.opcode)
        return int(width[1]) // 8 if width else 4


@dataclass(frozen=True)
class MachineCode:
    registers: int
    stack: int  # bytes per thread
    shared: int  # bytes per block
    instructions: tuple[Instruction, ...] = field(repr=False)

    @classmethod
    def read(cls: type[Code], fields: dict) -> Code:
        """Of the fields as json.loads gives them."""
        instructions = tuple(Instruction(place, sys.intern(x), last) for place, x, last in fields["instructions"])
        return cls(**{**fields, "instructions": instructions})

    def matrix_instructions(self) -> set[str]:
        return {x.base for x in self.instructions} & set(MATRIX.values())

    def loops(self) -> list[list[Instruction]]:
        """Bodies of the innermost loops."""
        spans = [(x.target, x.address) for x in self.instructions if x.target is not None and x.target < x.address]
        inner = [
            (first, last)
            for first, last in spans
            if not any(first <= a and b <= last for a, b in spans if (a, b) != (first, last))
        ]
        return [[x for x in self.instructions if first <= x.address <= last] for first, last in sorted(inner)]

    def product_loops(self) -> list[list[Instruction]]:
        """Those that multiply matrices, on tensor cores or without."""
        return [loop for loop in self.loops() if is_product(loop)]


def is_product(loop: list[Instruction]) -> bool:
    bases = [x.base for x in loop]
    return any(base in MATRIX.values() for base in bases) or sum(x.startswith("FFMA") for x in bases) >= UNROLLED


def find_cuobjdump() -> str | None:
    """Triton's, or that of the toolkit."""
    triton = importlib.util.find_spec("triton")
    its = Path(triton.origin).parent / "backends/nvidia/bin/cuobjdump" if triton else None
    return str(its) if its and its.exists() else shutil.which("cuobjdump")


def functions(compiled: Path) -> dict[tuple[str, str], tuple[Instruction, ...]]:
    """(name, architecture) -> instructions, of a cubin or of an object with some for several architectures."""
    command = [find_cuobjdump(), "-sass", str(compiled)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[tuple[str, str], list[Instruction]] = {}
    architecture = ""
    for match in LISTING.finditer(listing):
        arch, name, address, opcode, operands = match.groups()
        if arch:
            architecture = arch
        elif name:
            current = found[name, architecture] = []
        else:
            last = NUMBER.search(operands)
            number = int(last[1], 16) if last else None
            current.append(Instruction(int(address, 16), sys.intern(opcode), number))
    return {key: tuple(instructions) for key, instructions in found.items()}


class Resources(NamedTuple):
    registers: int
    stack: int
    shared: int  # what is known before a launch


def resources(log: str) -> dict[tuple[str, str], Resources]:
    """(name, architecture) -> what ptxas logged of each kernel."""
    _, *entries = re.split(ENTRY, log)
    found = {}
    for name, architecture, text in zip(*[iter(entries)] * 3, strict=True):
        shared = re.search(SHARED, text)  # not said of none
        registers, stack = (int(re.search(what, text)[1]) for what in (REGISTERS, STACK))
        found[name, architecture] = Resources(registers, stack, int(shared[1]) if shared else 0)
    return found


def warnings(log: str) -> tuple[str, ...]:
    return tuple(line for line in log.splitlines() if re.search(WARNING, line))
