"""Compiles a kernel for a GPU that need not be here, and reads back what the machine code says."""

import contextlib
import importlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.support.machine_code import MachineCode, functions, resources, warnings


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
class Report(MachineCode):
    warnings: tuple[str, ...]  # of ptxas


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
    (used,) = resources(log.getvalue()).values()
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        (instructions,) = functions(Path(file.name)).values()
    return Report(used.registers, used.stack, compiled.metadata.shared, instructions, warnings(log.getvalue()))
