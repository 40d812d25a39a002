"""Compiles csrc/cuda with nvcc alone, a file for one architecture at a time, and reads back what came out.

The commands are setup.py's for the architectures of these tests; nothing of torch is on the include path.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from build_cuda import HOPPER, Architecture, Objects, Toolkit, find_toolkit
from tests.cuda_compiled.cuda_kernels import ROOT
from tests.support import machine_code
from tests.support.machine_code import MachineCode, functions, resources
from tests.support.outcomes import Outcomes, digest

TARGETS = {
    "sm_80": Architecture((8, 0), "", False),
    "sm_90a": HOPPER,
    "sm_100a": Architecture((10, 0), "a", False),
}
VARIABLES = (  # that the compilers read
    "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH",
)  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A file compiled for one architecture."""

    object: Path
    messages: str  # of nvcc
    kernels: dict[str, MachineCode]  # by instance
    instances: dict[str, str]  # by mangled name


class ObjectsOfOne(Objects):
    """Objects for one of the architectures, otherwise as setup.py compiles for all of them."""

    def __init__(self, all_of_them: Objects, arch: str) -> None:
        self.__dict__.update(vars(all_of_them))
        self.one = TARGETS[arch]

    def architectures_of(self, source: Path) -> list[Architecture]:
        return [self.one]


class Compilations:
    """(source, architecture) -> Compiled, from an earlier run or compiled when it is first asked for or begun."""

    def __init__(self, outcomes: Outcomes, root: Path = ROOT) -> None:
        """Raises CannotBuild where there is no nvcc."""
        self.toolkit, self.outcomes = find_toolkit(), outcomes
        compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), "c++")
        known = [target for arch, target in TARGETS.items() if self.knows(arch)]
        self.objects = Objects(root, self.toolkit, known, compiler)
        headers = sorted((root / "csrc").rglob("*.*h"))
        self.shared = digest(
            *(f"{name}={os.environ.get(name)}" for name in VARIABLES),
            *(printed(tool, "--version") for tool in self.tools()),
            *(str(header) + digest(header.read_bytes()) for header in headers),
            *(Path(module).read_bytes() for module in (__file__, machine_code.__file__)),
        )

    def tools(self) -> list[str]:
        host = os.environ.get("NVCC_CCBIN") or self.objects.compiler[0]
        return [self.toolkit.nvcc, host, machine_code.find_cuobjdump()]

    def knows(self, arch: str) -> bool:
        return TARGETS[arch].capability in self.toolkit.capabilities

    def of_setup(self, source: Path) -> list[str]:
        """The architectures that setup.py compiles the source for."""
        return [arch for arch, target in TARGETS.items() if target in self.objects.architectures_of(source)]

    def command(self, source: Path, arch: str) -> list[str]:
        """Without the object that it makes."""
        self.objects.paths.setdefault(source, Path("object"))
        *command, _, _ = ObjectsOfOne(self.objects, arch).command(source)
        return [*command, "-Xptxas=-v"]

    def key(self, source: Path, arch: str) -> str:
        return digest(self.shared, *self.command(source, arch), source.read_bytes())

    def begin(self, source: Path, arch: str) -> str:
        key = self.key(source, arch)
        self.outcomes.begin(key, compile_source, self.command(source, arch), self.outcomes.object(key))
        return key

    def __call__(self, source: Path, arch: str) -> Compiled:
        """Raises RuntimeError with nvcc's messages if it refused the source."""
        key = self.begin(source, arch)
        outcome = self.outcomes[key]
        kernels = {name: MachineCode.read(code) for name, code in outcome["kernels"].items()}
        return Compiled(self.outcomes.object(key), outcome["messages"], kernels, outcome["instances"])


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compile_source(command: list[str], made: Path) -> dict:
    """The fields of Compiled beside the object, which nvcc's command makes. Raises RuntimeError."""
    unfinished = made.with_suffix(f".{os.getpid()}.o")
    result = subprocess.run(
        [*command, "-o", str(unfinished)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(result.stdout)
    used, instructions = resources(result.stdout), functions(unfinished)
    instances = {name: instance(name) for name, _ in used}
    kernels = {
        instances[name]: MachineCode(*numbers, instructions[name, arch]) for (name, arch), numbers in used.items()
    }
    unfinished.replace(made)
    return {"messages": result.stdout, "kernels": kernels, "instances": instances}


def instance(mangled: str) -> str:
    """A kernel's name and template arguments, without namespaces."""
    name = printed("c++filt", "--no-params", mangled).strip()  # of the binutils that the host compiler uses
    for namespace in ("bt::cuda::", "(anonymous namespace)::"):
        name = name.replace(namespace, "")
    return name.replace("> >", ">>")


def link(toolkit: Toolkit, objects: list[Path], library: Path) -> None:
    """Without CUDA's runtime: what is not there must not be called."""
    command = [toolkit.nvcc, "-shared", "-cudart=none", "-Xlinker=-z,lazy", *map(str, objects), "-o", str(library)]
    subprocess.run(command, check=True)
