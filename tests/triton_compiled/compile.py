"""Compiles a kernel for a GPU that need not be here, and reads back what the machine code says."""

import contextlib
import importlib
import io
import subprocess
import tempfile
from collections import namedtuple
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
    """One specialization of a kernel, as a launch asks for it: hashable, and picklable unlike the kernel.

    A member of an argument that is a NamedTuple has a name with a dot: given.y.
    """

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
    def sizes(self) -> list[str]:
        """The arguments that are N or D."""
        return [name for name, _ in self.signature if name.split(".")[-1] in ("N", "D")]

    @property
    def threads(self) -> int:
        return 32 * dict(self.options)["num_warps"]

    @property
    def target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def source(self) -> ASTSource:
        kernel = getattr(importlib.import_module(self.module), self.name)
        arguments: dict = {}  # the signature as a tree
        for name, kind in self.signature:
            *groups, last = name.split(".")
            place = arguments
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = kind
        position = dict(positions(arguments))
        return ASTSource(
            fn=kernel,
            signature={name: as_argument(kind) for name, kind in arguments.items()},
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


def as_argument(kind):
    """Triton knows the members of a NamedTuple by their names."""
    return kind if isinstance(kind, str) else namedtuple("Arguments", kind)(*map(as_argument, kind.values()))


def positions(arguments: dict, prefix: str = "", path: tuple[int, ...] = ()):
    """Of every leaf its dotted name and where it is."""
    for index, (name, kind) in enumerate(arguments.items()):
        if isinstance(kind, str):
            yield prefix + name, (*path, index)
        else:
            yield from positions(kind, f"{prefix}{name}.", (*path, index))


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
