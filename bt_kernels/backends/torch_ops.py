"""Ops in torch's registry, which belongs to the process.

It outlives this package: where the package is imported a second time, as test runners and notebooks do, the ops of
the first import are there, and stay.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bt_kernels.backends.stages import Availability


def define(op: str, schema: str, shapes: Callable[..., Any], run: Callable[..., Any] | None = None) -> None:
    """Defines "namespace::name" and, if a Python function runs it, says so; else a library does."""
    namespace, name = op.split("::")
    if not hasattr(getattr(torch.ops, namespace), name):
        torch.library.define(op, schema)  # without a Library object of this module's, with which the op would go
        if run is not None:
            torch.library.impl(op, "default", run)
    register_shapes(op, shapes)


def register_shapes(op: str, shapes: Callable[..., Any]) -> None:
    """Tells torch.compile the outputs' shapes and dtypes of an op. Raises RuntimeError if it is not defined."""
    # torch.library has no question for it, and refuses a second registration by asking this.
    if not torch._C._dispatch_has_kernel_for_dispatch_key(op, "Meta"):
        torch.library.register_fake(op, shapes)


def first_line(error: BaseException) -> str:
    """What the error says, to be put into a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .")


def load_library(library: Path, holds: str, op: str, dispatch_key: str) -> Availability:
    """Loads the library that implements "namespace::name" for that dispatch key."""
    reason = None
    try:
        torch.ops.load_library(str(library))
        if not torch._C._dispatch_has_kernel_for_dispatch_key(op, dispatch_key):
            reason = f"{library.name} does not implement {op}"
    except (OSError, RuntimeError) as error:  # it is no library, or lacks a symbol
        cause = first_line(error.__cause__ or error)  # torch's own OSError says no more than the path
        reason = f"{library.name} does not load with torch {torch.__version__}: {cause}"
    if reason is not None:
        return Availability(False, f"{reason}; install the package again beside this torch", fault=True)
    return Availability(True, f"{holds} from {library.name}")
