"""Builds the C++ ops where there is a compiler and the CUDA kernels where there is nvcc and torch is a CUDA build;
without them the other backends install and info says why.

Environment:
    BT_KERNELS_CPP         1: fail if the C++ ops cannot be built; 0: do not build them; unset: where possible
    BT_KERNELS_CUDA        the same for the CUDA kernels; 1 builds them beside a torch of another CUDA or of none
    CXX                    the compiler (default: the first of c++, g++, clang++ on PATH)
    CFLAGS                 more of its flags, such as -march=native (clang's default is one instruction set)
    CUDA_HOME              the CUDA toolkit (default: that of nvcc on PATH, or /usr/local/cuda)
    TORCH_CUDA_ARCH_LIST   the GPUs to build for (default: build_cuda.py's)
    MAX_JOBS               compiler processes at a time (default: from the cores and the free memory)
"""

import json
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
REPORT = ROOT / "bt_kernels" / "_build_report.json"
GIGABYTES_PER_COMPILER = 1.0  # torch's headers: measured peak 0.6 GB; nvcc: 1 GB
FLAGS = ["-std=c++17", "-O3", "-g0", "-fno-math-errno", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter"]
OLDEST_TORCH = (2, 6)  # of the package
# Of torch's stable ABI: the first that has all that csrc uses. One library is for every torch from there on.
OLDEST_STABLE_ABI = (2, 10)
STABLE_ABI = [
    "-DTORCH_TARGET_VERSION=0x{:02x}{:02x}000000000000".format(*OLDEST_STABLE_ABI),
    "-DPy_LIMITED_API=0x030A0000",
]

if int(setuptools.__version__.split(".")[0]) < 77:  # pyproject.toml's, which nobody reads without build isolation
    sys.exit(
        f"bt_kernels is built with setuptools 77 or newer, and this environment has {setuptools.__version__}: "
        'run pip install --upgrade "setuptools>=77,<82" first (torch 2.11 asks for setuptools < 82).'
    )

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths
except ImportError:
    sys.exit(
        "bt_kernels is built against the torch that is installed, and pip's build isolation hides it: "
        "install torch >= 2.6 first, then run pip install --no-build-isolation with the same arguments."
    )

TORCH = tuple(map(int, torch.__version__.split(".")[:2]))
# Before pip gets to read what the package depends on, and replaces the torch that is there.
if TORCH < OLDEST_TORCH:
    sys.exit(
        "bt_kernels needs torch {}.{} or newer".format(*OLDEST_TORCH) + f", and this environment has torch "
        f"{torch.__version__}, which was left as it is: install bt_kernels in an environment with a newer torch."
    )

sys.path.insert(0, str(ROOT))  # which pip leaves out
from build_cuda import CannotBuild, Objects, find_architectures, find_toolkit  # noqa: E402


def find_compiler() -> str | None:
    if os.environ.get("CXX"):  # possibly with arguments, such as "ccache g++"
        return os.environ["CXX"] if shutil.which(shlex.split(os.environ["CXX"])[0]) else None
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def reason_not_to_compile(compiler: str | None) -> str | None:
    """Why nothing is compiled against this torch, in one sentence; None if it can be."""
    if sys.platform == "win32":  # a g++ on PATH is often there, and torch would take MSVC with g++'s flags
        return "the C++ ops and the CUDA kernels are not built on Windows"
    if TORCH < OLDEST_STABLE_ABI:
        return (
            "the C++ ops and the CUDA kernels are built with the stable ABI of torch {}.{} or newer, "
            "and the package was installed beside torch {}".format(*OLDEST_STABLE_ABI, torch.__version__)
        )
    return no_compiler if compiler is None else None


def reason_not_to_build(compiler: str | None) -> str | None:
    """Why the C++ ops are left out, in one sentence; None if they are to be built."""
    if os.environ.get("BT_KERNELS_CPP") == "0":
        return "BT_KERNELS_CPP=0 when the package was installed"
    return reason_not_to_compile(compiler)


def plan_cuda(compiler: str | None) -> Objects:
    """What nvcc is to build; raises CannotBuild with the reason if the CUDA kernels are left out."""
    switch = os.environ.get("BT_KERNELS_CUDA")
    if switch == "0":
        raise CannotBuild("BT_KERNELS_CUDA=0 when the package was installed")
    if switch != "1" and torch.version.cuda is None:
        raise CannotBuild(f"the package was installed beside torch {torch.__version__}, a build without CUDA")
    if reason := reason_not_to_compile(compiler):
        raise CannotBuild(reason)
    toolkit = find_toolkit()
    if switch != "1" and toolkit.version.split(".")[0] != torch.version.cuda.split(".")[0]:
        raise CannotBuild(
            f"the package was installed with nvcc {toolkit.version} beside torch {torch.__version__}, "
            f"which is built with CUDA {torch.version.cuda}; CUDA_HOME names another toolkit"
        )
    return Objects(ROOT, toolkit, find_architectures(toolkit), compiler)


def default_jobs() -> int:
    jobs = os.cpu_count() or 1
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        jobs = min(jobs, int(free / GIGABYTES_PER_COMPILER))
    return max(jobs, 1)


def pybind11_include() -> str:
    """pybind11's headers: the installed package's, else the copy that torch ships."""
    try:
        import pybind11
    except ImportError:
        return include_paths()[0]
    return pybind11.get_include()


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))


def stable_library(name: str, folder: str, flags: list[str], **options) -> Extension:
    """bt_kernels.name from the folder's .cpp files, built again when a header of theirs changes."""
    return CppExtension(
        f"bt_kernels.{name}",
        files(f"{folder}/**/*.cpp"),
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args=[*FLAGS, *WARNINGS, *STABLE_ABI, *flags],
        depends=files(f"{folder}/**/*.*h") + files("csrc/*.h"),
        py_limited_api=True,
        **options,
    )


def cpp_extensions() -> list[Extension]:
    host = Extension(
        "bt_kernels._host",
        ["csrc/host/module.cpp", "csrc/host/cuda_schedule.cpp"],
        include_dirs=[str(ROOT / "csrc"), pybind11_include()],
        depends=files("csrc/**/*.h"),
        extra_compile_args=[*FLAGS, *WARNINGS],
        language="c++",
    )
    return [stable_library("_C", "csrc/cpu", flags=[]), host]


def cuda_extension(objects: Objects) -> Extension:
    return stable_library(
        "_CUDA",
        "csrc/cuda",
        flags=[word for path in objects.toolkit.include_dirs for word in ("-isystem", path)],
        extra_objects=[str(path) for path in objects.paths.values()],
        library_dirs=objects.toolkit.library_dirs,
        libraries=["cudart_static", "rt", "pthread", "dl"],
        # The current stream is libtorch_cuda's, found through libtorch and not there where this is linked beside a
        # torch without CUDA.
        extra_link_args=["-Wl,--push-state,--no-as-needed", "-ltorch", "-Wl,--pop-state"],
    )


def write_report(build_lib: str) -> None:
    """What bt_kernels.info will say of this build; and no earlier build's library beside a report without one, nor
    in build_lib, of which a wheel takes all that is there."""
    report = {"torch": torch.__version__, "python": platform.python_version()}
    report |= (
        {"cpp_missing": cpp_missing}
        if cpp_missing
        else {"compiler": compiler, "cflags": os.environ.get("CFLAGS", "")}
    )
    if cuda is None:
        report["cuda_missing"] = cuda_missing
    else:
        report["nvcc"] = cuda.toolkit.version
        report["cuda"] = ".".join(cuda.toolkit.version.split(".")[:2])
        report["cuda_architectures"] = [str(architecture) for architecture in cuda.architectures]
    text = json.dumps(report, indent=2) + "\n"
    if not REPORT.exists() or REPORT.read_text() != text:  # what depends on it is built again when it changes
        REPORT.write_text(text)
    for library, missing in (("_C", cpp_missing), ("_host", cpp_missing), ("_CUDA", cuda_missing)):
        if missing:
            remove_library(library, REPORT.parent, Path(build_lib) / REPORT.parent.name)


def remove_library(name: str, *folders: Path) -> None:
    for folder in folders:
        for stale in folder.glob(f"{name}.*so"):
            stale.unlink()


def discard_build() -> None:
    """After a failure: libraries of an earlier build would pass for those that the report promises."""
    for library in ("_C", "_host", "_CUDA"):
        remove_library(library, REPORT.parent)
    REPORT.unlink(missing_ok=True)


class BuildPython(build_py):
    def run(self) -> None:
        write_report(self.build_lib)
        super().run()


class BuildOps(BuildExtension):
    def run(self) -> None:
        write_report(self.build_lib)
        try:
            super().run()
        except CannotBuild as error:
            discard_build()
            sys.exit(
                f"bt_kernels: {error} (its messages are above). BT_KERNELS_CUDA=0 installs the other backends "
                "without the CUDA kernels; CUDA_HOME chooses another toolkit, CXX another compiler for nvcc."
            )
        except Exception as error:
            discard_build()
            sys.exit(
                f"{error}\nbt_kernels: {compiler} could not build the C++ side (its messages are above). "
                "BT_KERNELS_CPP=0 and BT_KERNELS_CUDA=0 install the other backends without it; "
                "CXX chooses another compiler."
            )

    def build_extensions(self) -> None:
        if cuda is not None:
            cuda.compile(int(jobs))
        for extension in self.extensions:  # not before: what an extension depends on is packed into an sdist
            extension.depends += [*extension.extra_objects, str(REPORT), str(ROOT / "setup.py")]
        super().build_extensions()


compiler = find_compiler()
wanted = os.environ.get("CXX") or "c++, g++ or clang++"
no_compiler = f"no C++ compiler was found ({wanted}) when the package was installed"
no_compiler += "; install one, then the package again"
cpp_missing = reason_not_to_build(compiler)
try:
    cuda, cuda_missing = plan_cuda(compiler), None
except CannotBuild as reason:
    cuda, cuda_missing = None, str(reason)
for switch, what, missing in (
    ("BT_KERNELS_CPP", "the C++ ops", cpp_missing),
    ("BT_KERNELS_CUDA", "the CUDA kernels", cuda_missing),
):
    if os.environ.get(switch, "") not in ("", "0", "1"):
        sys.exit(
            f"{switch}={os.environ[switch]}: 1 asks for {what}, 0 leaves them out; nothing else is understood."
        )
    if missing and os.environ.get(switch) == "1":
        sys.exit(f"{switch}=1 asks for {what}, but {missing}.")
jobs = os.environ.get("MAX_JOBS") or str(default_jobs())
if not (jobs.isdecimal() and int(jobs) >= 1):
    sys.exit(f"MAX_JOBS={jobs}: the number of compiler processes at a time, 1 or more.")
for backend, missing in (("cpu", cpp_missing), ("cuda", cuda_missing)):
    if missing:
        print(f"bt_kernels: the {backend} backend is left out: {missing}.", file=sys.stderr)

extensions = ([] if cpp_missing else cpp_extensions()) + ([] if cuda is None else [cuda_extension(cuda)])
if extensions:
    os.environ["CXX"] = compiler  # what torch's build would otherwise take for granted is c++
    os.environ["MAX_JOBS"] = jobs

setup(
    ext_modules=extensions,
    cmdclass={"build_py": BuildPython, "build_ext": BuildOps},
)
