"""What setup.py built and with what, read back from the report it leaves beside the package's modules."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import TypedDict

REPORT = Path(__file__).parent / "_build_report.json"


class BuildReport(TypedDict, total=False):
    """What setup.py writes down; what was not built has a reason instead of versions."""

    torch: str
    compiler: str
    cflags: str
    cpp_missing: str
    nvcc: str
    cuda: str
    cuda_architectures: list[str]
    cuda_missing: str


def read_build_report() -> BuildReport:
    """The report as setup.py wrote it; empty if the package was never built."""
    return json.loads(REPORT.read_text()) if REPORT.exists() else {}


NOT_BUILT = "the package was not built; install it with pip (README)"
GONE = (
    f"the library that was built is not in {REPORT.parent}, from where Python imports the package: start Python "
    "in another folder if those are the sources, or install the package again"
)


def was_built() -> bool:
    """Whether there should be a C++ library."""
    return "compiler" in read_build_report()


def why_not_built() -> str:
    """Why there is no C++ library, in one sentence."""
    return read_build_report().get("cpp_missing", GONE if was_built() else NOT_BUILT)


def why_no_cuda() -> str:
    """Why there is no library of CUDA kernels, in one sentence."""
    return read_build_report().get("cuda_missing", NOT_BUILT)


def host_module() -> ModuleType | None:
    """bt_kernels._host, the torch-free side of the C++ code; None where it was not built for this Python, or is
    damaged."""
    try:
        return importlib.import_module("bt_kernels._host")
    except ImportError:
        return None
