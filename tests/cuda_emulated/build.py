"""Builds the CUDA kernels for the emulated GPU: a C++ compiler's library of csrc/cuda, which runs on the CPU.

    path = build(folder)                       # the package's kernels and their bindings: ops of bt_kernels_cuda
    path = build(folder, "name", [sources])    # other kernels, such as those of the emulation's own tests
    path = build(folder, "name", counts=True)  # one that counts what they read and write: traffic.py

Objects stay in the folder and are used again as long as sources, headers, flags and the compiler are the same.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

EMULATED = Path(__file__).parent.resolve()
ROOT = EMULATED.parent.parent
RUNTIME = sorted((EMULATED / "runtime").glob("*.cpp"))
COUNTING = [EMULATED / "counting" / "traffic.cpp"]
BINDINGS = ROOT / "csrc" / "cuda" / "host" / "bindings.cpp"

FLAGS = [
    "-std=c++20",
    "-O2",
    "-g0",
    "-fPIC",
    "-fvisibility=hidden",
    "-DBT_SM90=1",
    "-fno-strict-aliasing",  # shared memory is read as whatever the kernel put there
    "-fno-tree-slp-vectorize",  # GCC 12 leaves the rounding out of a pair of doubles made float and double again
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-unused-parameter",
    f"-I{EMULATED / 'include'}",  # first: its cuda/instructions are found before csrc's
    f"-I{ROOT / 'csrc'}",
]
BINDINGS_FLAGS = [
    "-DBT_EMULATED",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
    *(f"-isystem{path}" for path in include_paths()),
]
# Every access of a kernel to memory becomes a call of counting/traffic.cpp, as the kernel has it: structs in one
# piece, and each place of the code once.
COUNTING_FLAGS = ("-DBT_EMULATED_TRAFFIC", "-g1")
COUNTED_FLAGS = ("-O1", "-fno-tree-sra", "-fsanitize=thread")


class BuildError(RuntimeError):
    """What the compiler said."""


def compiler() -> list[str]:
    """Possibly with arguments, such as "ccache g++"."""
    return shlex.split(os.environ.get("CXX") or ("g++" if shutil.which("g++") else "c++"))


def compiler_version() -> str:
    """Its own headers are not among those that are compared; they come with it."""
    try:
        return subprocess.run([*compiler(), "--version"], check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""  # run() says so


def kernel_sources() -> list[Path]:
    return [BINDINGS, *sorted((ROOT / "csrc" / "cuda").rglob("*.cu"))]


def build(
    folder: Path,
    name: str = "bt_kernels_emulated",
    sources: list[Path] | None = None,  # bindings.cpp and all .cu of csrc/cuda
    flags: tuple[str, ...] = (),
    counts: bool = False,
) -> Path:
    """Path of the library in the folder, up to date.

    flags: more of them for all objects and the link, such as -fsanitize=address. Raises BuildError.
    """
    sources = kernel_sources() if sources is None else sources
    runtime = [*RUNTIME, *COUNTING] if counts else RUNTIME
    flags = (*flags, *COUNTING_FLAGS) if counts else flags

    def compiled_of(source: Path) -> Path:
        counted = counts and source.suffix == ".cu"
        return compiled(source, folder, (*flags, *COUNTED_FLAGS) if counted else flags)

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:  # of several test processes one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled_of, [*sources, *runtime]))
        return linked(objects, folder / f"{name}.so", flags, with_torch=BINDINGS in sources)


def compiled(source: Path, folder: Path, flags: tuple[str, ...]) -> Path:
    command = [*compiler(), *FLAGS, *flags]
    command += [*(BINDINGS_FLAGS if source == BINDINGS else ()), "-x", "c++", "-c", str(source)]
    identity = digest(" ".join(command), compiler_version(), torch.__version__)
    output = folder / f"{source.stem}-{identity[:16]}.o"
    headers, stamp = output.with_suffix(".d"), output.with_suffix(".stamp")
    if output.exists() and stamp.exists() and stamp.read_text() == content(headers):
        return output
    started = time.time()
    run([*command, "-o", str(output), "-MMD", "-MF", str(headers)])
    # What somebody edited meanwhile may not be what was compiled.
    edited = any(Path(name).stat().st_mtime >= started for name in dependencies(headers))
    stamp.write_text("edited" if edited else content(headers))
    return output


def linked(objects: list[Path], library: Path, flags: tuple[str, ...], with_torch: bool) -> Path:
    stamp = library.with_suffix(".stamp")
    wanted = digest(*flags, *(f"{path} {path.with_suffix('.stamp').read_text()}" for path in objects))
    if library.exists() and stamp.exists() and stamp.read_text() == wanted:
        return library
    torch_libraries = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-lc10"] if with_torch else []
    partial = library.with_suffix(".partial")
    run([*compiler(), "-shared", "-pthread", *flags, *map(str, objects), *torch_libraries, "-o", str(partial)])
    partial.replace(library)  # another file than the one that a process may have loaded
    stamp.write_text(wanted)
    return library


def run(command: list[str]) -> None:
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"no C++ compiler: {command[0]} is not there, CXX names another one") from None
    if result.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{result.stderr}")


def dependencies(rule: Path) -> list[str]:
    """The files that a make rule of the compiler names."""
    return shlex.split(rule.read_text().replace("\\\n", " ").split(":", 1)[1]) if rule.exists() else []


def content(rule: Path) -> str:
    """Digest of the rule's files; "missing" if one is gone."""
    try:
        return digest(*(Path(name).read_bytes().hex() for name in dependencies(rule)))
    except FileNotFoundError:
        return "missing"


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
