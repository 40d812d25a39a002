"""Compiles csrc/cuda with nvcc alone and reads back what came out.

The commands are setup.py's for the architectures of these tests; nothing of torch is on the include path.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.cuda_compiled.cuda_kernels import ROOT
from tests.support.machine_code import MachineCode, functions, resources

sys.path.insert(0, str(ROOT))
from build_cuda import HOPPER, Architecture, Objects, Toolkit

GPUS = {"sm_80": Architecture((8, 0), "", False), "sm_90a": HOPPER, "sm_100a": Architecture((10, 0), "a", False)}


@dataclass(frozen=True)
class Compiled:
    object: Path
    messages: str  # of nvcc
    succeeded: bool
    kernels: dict[tuple[str, str], MachineCode] = field(default_factory=dict)  # by instance and architecture
    instances: dict[str, str] = field(default_factory=dict)  # by mangled name


def objects_in(folder: Path, toolkit: Toolkit) -> Objects:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), "c++")
    known = [gpu for gpu in GPUS.values() if gpu.capability in toolkit.capabilities]
    objects = Objects(ROOT, toolkit, known, compiler)
    objects.paths = {source: folder / path.name for source, path in objects.paths.items()}
    return objects


def compile_source(command: list[str], made: Path) -> Compiled:
    """Runs nvcc's command, which makes that object."""
    result = subprocess.run(
        [*command, "-Xptxas=-v"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        return Compiled(made, result.stdout, False)
    used, instructions = resources(result.stdout), functions(made)
    instances = {name: instance(name) for name, _ in used}
    kernels = {
        (instances[name], arch): MachineCode(*numbers, instructions[name, arch])
        for (name, arch), numbers in used.items()
    }
    return Compiled(made, result.stdout, True, kernels, instances)


def instance(mangled: str) -> str:
    """A kernel's name and template arguments, without namespaces."""
    command = ["c++filt", "--no-params", mangled]  # of the binutils that the host compiler uses
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for namespace in ("bt::cuda::", "(anonymous namespace)::"):
        name = name.replace(namespace, "")
    return name.replace("> >", ">>")


def link(toolkit: Toolkit, objects: list[Path], library: Path) -> None:
    """Without CUDA's runtime: what is not there must not be called."""
    command = [toolkit.nvcc, "-shared", "-cudart=none", "-Xlinker=-z,lazy", *map(str, objects), "-o", str(library)]
    subprocess.run(command, check=True)
