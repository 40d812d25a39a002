"""The nvcc side of setup.py: where the toolkit is, which GPUs to build for, and one object per .cu file."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = "8.0;8.6;8.9;9.0a;10.0;12.0+PTX"  # of those, what the nvcc at hand knows
OLDEST = (8, 0)
FLAGS = ("-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden")


class CannotBuild(Exception):
    """Why the CUDA kernels are left out, in one sentence without the full stop."""


class Toolkit(NamedTuple):
    nvcc: str
    version: str  # such as 13.0.88
    capabilities: frozenset[tuple[int, int]]
    include_dirs: list[str]
    library_dirs: list[str]


class Architecture(NamedTuple):
    """One name of TORCH_CUDA_ARCH_LIST."""

    capability: tuple[int, int]
    kind: str  # "a": that GPU's own instructions as well; "f": its family's; or ""
    ptx: bool  # kept as PTX too, which later GPUs translate

    def __str__(self) -> str:
        return "{}.{}".format(*self.capability) + self.kind + "+PTX" * self.ptx

    @property
    def flags(self) -> list[str]:
        number = "{}{}".format(*self.capability) + self.kind
        codes = [f"sm_{number}", f"compute_{number}"][: 1 + self.ptx]
        return [f"-gencode=arch=compute_{number},code={code}" for code in codes]


HOPPER = Architecture((9, 0), "a", False)  # wgmma and TMA of csrc/cuda/launches/sm90 need the a


def ask(*command: str) -> str:
    """What it prints."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"{shlex.join(command)} failed when the package was installed: {error}") from error


def find_toolkit() -> Toolkit:
    home = os.environ.get("CUDA_HOME")
    places = [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]
    nvcc = next((path for place in places if (path := shutil.which(place))), None)
    if nvcc is None:
        wanted = f"CUDA_HOME={home}" if home else "on PATH or in /usr/local/cuda; CUDA_HOME names another place"
        raise CannotBuild(
            f"no nvcc was found ({wanted}) when the package was installed; "
            "install the CUDA toolkit, then the package again"
        )
    version = re.search(r"\bV(\d+\.\d+\.\d+)", ask(nvcc, "--version"))
    if version is None:
        raise CannotBuild(f"{nvcc} --version named no version when the package was installed")
    known = re.findall(r"compute_(\d+)(\d)\b", ask(nvcc, "--list-gpu-arch"))
    return Toolkit(nvcc, version[1], frozenset((int(major), int(minor)) for major, minor in known), *folders(nvcc))


def folders(nvcc: str) -> tuple[list[str], list[str]]:
    """Of the toolkit's headers and libraries, by nvcc's own account: toolkits are laid out in many ways."""
    account = subprocess.run([nvcc, "--dryrun", "none.cu"], capture_output=True, text=True, check=False).stderr

    def named(variable: str, flag: str) -> list[str]:
        line = re.search(rf"^#\$ {variable}=(.*)", account, re.MULTILINE)
        words = shlex.split(line[1]) if line else []
        return [os.path.normpath(word[2:]) for word in words if word.startswith(flag) and Path(word[2:]).is_dir()]

    return named("INCLUDES", "-I"), named("LIBRARIES", "-L")


def find_architectures(toolkit: Toolkit) -> list[Architecture]:
    """Those of TORCH_CUDA_ARCH_LIST. It is one for all packages and may name GPUs too old for the kernels."""
    requested = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    found: list[Architecture] = []
    for name in re.findall(r"[^;,\s]+", requested or ARCHITECTURES):
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", name)
        if match is None:
            raise CannotBuild(
                f"TORCH_CUDA_ARCH_LIST held {name!r} where names such as 8.0, 9.0a and 12.0+PTX are understood"
            )
        capability, kind, ptx = (int(match[1]), int(match[2])), match[3], match[4] is not None
        if capability < OLDEST:
            continue
        if capability not in toolkit.capabilities:
            if not requested:
                continue
            raise CannotBuild(f"TORCH_CUDA_ARCH_LIST held {name}, which nvcc {toolkit.version} does not know")
        if capability == HOPPER.capability:
            found.append(HOPPER)
        if capability != HOPPER.capability or (ptx and not kind):
            found.append(Architecture(capability, kind, ptx and not kind))
    if not found:
        raise CannotBuild(f"TORCH_CUDA_ARCH_LIST={requested} names no GPU that the kernels run on: 8.0 or newer")
    return list(dict.fromkeys(found))


class Objects:
    """The .cu files' objects, in the folder build: kept from one build to the next, also where the rest is not."""

    def __init__(self, root: Path, toolkit: Toolkit, architectures: list[Architecture], compiler: str) -> None:
        self.root, self.toolkit, self.architectures = root, toolkit, architectures
        self.compiler = shlex.split(compiler)
        self.hopper = HOPPER in architectures
        kernels, objects = root / "csrc" / "cuda", root / "build" / "cuda"
        self.sources = sorted(path for path in kernels.rglob("*.cu") if self.hopper or path.parent.name != "sm90")
        self.paths = {path: objects / f"{'.'.join(path.relative_to(kernels).parts)}.o" for path in self.sources}

    def architectures_of(self, source: Path) -> list[Architecture]:
        """Hopper runs the files of sm90/, and of portable/ those alone that have no namesake there."""
        if source.parent.name == "sm90":
            return [HOPPER]
        others = [architecture for architecture in self.architectures if architecture != HOPPER]
        namesake = source.parent.name == "portable" and (source.parent.parent / "sm90" / source.name).exists()
        return others if namesake and others else self.architectures

    def command(self, source: Path) -> list[str]:
        command = [self.toolkit.nvcc, *FLAGS, f"-DBT_SM90={int(self.hopper)}", f"-I{self.root / 'csrc'}"]
        if "NVCC_CCBIN" not in os.environ and len(self.compiler) == 1:  # nvcc takes no launcher such as ccache
            command.append(f"-ccbin={self.compiler[0]}")
        command += [flag for architecture in self.architectures_of(source) for flag in architecture.flags]
        return [*command, "-c", str(source), "-o", str(self.paths[source])]

    def compile(self, jobs: int) -> None:
        """Raises CannotBuild for the first file that nvcc refuses; its messages are printed."""
        headers = sorted(path for path in (self.root / "csrc" / "cuda").rglob("*.*h"))
        shared = hashlib.sha256(b"".join(header.read_bytes() for header in headers))
        shared.update(self.toolkit.version.encode())
        (self.root / "build" / "cuda").mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                list(pool.map(lambda source: self.compile_one(source, shared.copy()), self.sources))
            except CannotBuild:
                pool.shutdown(cancel_futures=True)
                raise

    def compile_one(self, source: Path, inputs) -> None:
        command, made = self.command(source), self.paths[source]
        inputs.update(source.read_bytes() + shlex.join(command).encode())
        key, known = inputs.hexdigest(), made.with_suffix(".sha256")
        if made.exists() and known.exists() and known.read_text() == key:
            return
        print(shlex.join(command), flush=True)
        known.unlink(missing_ok=True)
        if subprocess.run(command, check=False).returncode != 0:
            raise CannotBuild(f"nvcc could not compile {source.relative_to(self.root)}")
        known.write_text(key)
