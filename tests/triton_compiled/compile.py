"""Compiles a kernel for a GPU that need not be here, and reads back what the machine code says."""

import contextlib
import importlib
import io
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, get_cache_key, make_backend
from triton.compiler.compiler import get_cache_invalidating_env_vars

from tests.support import machine_code
from tests.support.machine_code import MachineCode, find_cuobjdump, functions, resources, warnings
from tests.support.outcomes import digest


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

    @property
    def target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def source(self) -> ASTSource:
        kernel = getattr(importlib.import_module(self.module), self.name)
        position = {name: (index,) for index, name in enumerate(kernel.arg_names)}
        return ASTSource(
            fn=kernel,
            signature=dict(self.signature),
            constexprs={position[name]: value for name, value in self.constexprs},
            attrs={position[name]: [["tt.divisibility", 16]] for name in self.aligned},
        )

    def key(self) -> str:
        """Triton's own, which knows the kernel's source and what it calls, with what reads the result."""
        backend = make_backend(self.target)
        options = backend.parse_options(dict(self.options))
        of_triton = get_cache_key(self.source(), backend, options, get_cache_invalidating_env_vars())
        return digest(of_triton, readers())


@cache
def readers() -> str:
    version = subprocess.run([find_cuobjdump(), "--version"], capture_output=True, text=True, check=True).stdout
    return digest(version, *(Path(module).read_bytes() for module in (__file__, machine_code.__file__)))


@dataclass(frozen=True)
class Report(MachineCode):
    warnings: list[str]  # of ptxas


def compile_variant(variant: Variant) -> Report:
    log = io.StringIO()
    triton.knobs.nvidia.dump_ptxas_log = True
    with contextlib.redirect_stdout(log):
        compiled = triton.compile(variant.source(), target=variant.target, options=dict(variant.options))
    (used,) = resources(log.getvalue()).values()
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        (instructions,) = functions(Path(file.name)).values()
    said = list(warnings(log.getvalue()))
    return Report(used.registers, used.stack, compiled.metadata.shared, instructions, said)
