"""Compiles a kernel for a GPU that need not be here, and reads back what the machine code says.

ptxas's verbose log has the registers, the spills and its warnings; the SASS has the instructions, and with them the
loops: a branch backwards closes one.
"""

import contextlib
import importlib
import io
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
MATRIX = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}  # SASS of mma.sync, wgmma and tcgen05.mma
GLOBAL_LOADS = ("LDG", "LDGSTS")
SPILLS = ("LDL", "STL")
REGISTERS, STACK = r"Used (\d+) registers", r"(\d+) bytes stack frame"  # in ptxas -v
WARNING = r"warning|\(C\d+\)"  # ptxas calls lost performance an "info" with a number
UNROLLED = 64  # multiplications that a turn of a product's loop has without tensor cores, at the least


@dataclass(frozen=True)
class Variant:
    """One specialization of a kernel, as a launch asks for it: hashable, and picklable unlike the kernel."""

    module: str
    name: str
    arch: int
    signature: tuple[tuple[str, str], ...]  # argument, Triton type or "constexpr"
    constexprs: tuple[tuple[str, object], ...]
    aligned: tuple[str, ...]  # arguments that are multiples of 16
    options: tuple[tuple[str, object], ...]  # num_warps and the like

    @property
    def constants(self) -> dict[str, object]:
        return dict(self.constexprs)

    @property
    def threads(self) -> int:
        return 32 * dict(self.options)["num_warps"]


@dataclass(frozen=True)
class Instruction:
    address: int
    opcode: str  # with its modifiers: LDG.E.128
    target: int | None  # of a branch

    @property
    def base(self) -> str:
        return self.opcode.split(".")[0]

    @property
    def bytes(self) -> int:
        """What a global access moves per thread; an access without a width in its name moves 4."""
        width = re.search(r"\.(?:U|S)?(8|16|64|128)\b", self.opcode)
        return int(width[1]) // 8 if width else 4


@dataclass(frozen=True)
class Report:
    registers: int
    stack: int  # bytes per thread
    shared: int  # bytes per block
    warnings: tuple[str, ...]  # of ptxas
    instructions: tuple[Instruction, ...] = field(repr=False)

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


def instructions(cubin: bytes) -> tuple[Instruction, ...]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = subprocess.run([CUOBJDUMP, "-sass", file.name], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)([^;\n]*);", listing)
    return tuple(
        Instruction(int(address, 16), opcode, branch_target(opcode, rest)) for address, opcode, rest in found
    )


def branch_target(opcode: str, operands: str) -> int | None:
    target = re.search(r"0x([0-9a-f]+)\s*$", operands)
    return int(target[1], 16) if opcode.split(".")[0] == "BRA" and target else None


def compile_variant(variant: Variant) -> Report:
    kernel = getattr(importlib.import_module(variant.module), variant.name)
    position = {name: (index,) for index, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        fn=kernel,
        signature=dict(variant.signature),
        constexprs={position[name]: value for name, value in variant.constexprs},
        attrs={position[name]: [["tt.divisibility", 16]] for name in variant.aligned},
    )
    log = io.StringIO()
    triton.knobs.nvidia.dump_ptxas_log = True
    with contextlib.redirect_stdout(log):
        compiled = triton.compile(
            source,
            target=GPUTarget("cuda", variant.arch, 32),
            options=dict(variant.options),
        )
    registers, stack = (int(re.search(what, log.getvalue())[1]) for what in (REGISTERS, STACK))
    return Report(
        registers,
        stack,
        compiled.metadata.shared,
        tuple(line for line in log.getvalue().splitlines() if re.search(WARNING, line)),
        instructions(compiled.asm["cubin"]),
    )
