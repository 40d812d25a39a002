"""Builds the C++ ops where there is a compiler; without one the other backends install and info says why.

Environment:
    BT_KERNELS_CPP   1: fail if the C++ ops cannot be built; 0: do not build them; unset: build where possible
    CXX              the compiler (default: the first of c++, g++, clang++ on PATH)
    MAX_JOBS         compiler processes at a time (default: from the cores and the free memory)
"""

import json
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
REPORT = ROOT / "bt_kernels" / "_build_report.json"
GIGABYTES_PER_COMPILER = 1.0  # torch's headers; measured peak 0.6 GB

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths
except ImportError:
    sys.exit(
        "bt_kernels is built against the torch that is installed, and pip's build isolation hides it: "
        "install torch >= 2.11 first, then run pip install --no-build-isolation with the same arguments."
    )


def find_compiler() -> str | None:
    if os.environ.get("CXX"):  # possibly with arguments, such as "ccache g++"
        return os.environ["CXX"] if shutil.which(shlex.split(os.environ["CXX"])[0]) else None
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def reason_not_to_build(compiler: str | None) -> str | None:
    """Why the C++ ops are left out, in one sentence; None if they are to be built."""
    if os.environ.get("BT_KERNELS_CPP") == "0":
        return "BT_KERNELS_CPP=0 when the package was installed"
    if compiler is None:
        wanted = os.environ.get("CXX", "c++, g++ or clang++")
        return f"no C++ compiler was found ({wanted}) when the package was installed; install one, then the package again"
    return None


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


def cpp_extensions() -> list[Extension]:
    flags = ["-std=c++17", "-O3", "-g0", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    include = [str(ROOT / "csrc")]
    headers = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.h"))  # a change in one rebuilds
    ops = CppExtension(
        "bt_kernels._C",
        sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("cpu/*.cpp")) + ["csrc/ops.cpp"],
        include_dirs=include,
        # torch's stable ABI: one library for this torch and every later one.
        extra_compile_args=[*flags, "-DTORCH_TARGET_VERSION=0x020b000000000000", "-DPy_LIMITED_API=0x030A0000"],
        depends=headers,
        py_limited_api=True,
    )
    host = Extension(
        "bt_kernels._host",
        ["csrc/host/module.cpp"],
        include_dirs=[*include, pybind11_include()],
        depends=headers,
        extra_compile_args=flags,
        language="c++",
    )
    return [ops, host]


def write_report() -> None:
    """What bt_kernels.info will say of this build; and no library of an earlier build beside a report without one."""
    report = {"torch": torch.__version__, "python": platform.python_version()}
    report |= {"cpp_missing": missing} if missing else {"compiler": compiler}
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    if missing:
        for stale in REPORT.parent.glob("_*.so"):
            stale.unlink()


class BuildPython(build_py):
    def run(self) -> None:
        write_report()
        super().run()


class BuildOps(BuildExtension):
    def run(self) -> None:
        write_report()
        try:
            super().run()
        except Exception as error:
            sys.exit(
                f"{error}\nbt_kernels: {compiler} could not build the C++ ops (its messages are above). "
                "BT_KERNELS_CPP=0 installs the other backends without them; CXX chooses another compiler."
            )


compiler = find_compiler()
missing = reason_not_to_build(compiler)
if missing and os.environ.get("BT_KERNELS_CPP") == "1":
    sys.exit(f"BT_KERNELS_CPP=1 asks for the C++ ops, but {missing}.")
if missing:
    print(f"bt_kernels: the cpu backend is left out: {missing}.", file=sys.stderr)
else:
    os.environ.setdefault("CXX", compiler)  # what torch's build would otherwise take for granted is c++
    os.environ.setdefault("MAX_JOBS", str(default_jobs()))

setup(
    ext_modules=[] if missing else cpp_extensions(),
    cmdclass={"build_py": BuildPython} | ({} if missing else {"build_ext": BuildOps}),
)
