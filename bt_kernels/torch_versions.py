"""What differs between the versions of torch, from 2.6 on: each difference with the version and the reason."""

import sys
from collections.abc import Callable
from typing import Any

import torch

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))


def constant_to_dynamo(function: Callable) -> Callable:
    """torch.compiler.assume_constant_result, which would import the whole of torch._dynamo for this line."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


# Dynamo traces the public function since 2.12.
@constant_to_dynamo
def is_autocast_available(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)


# torch.compiler.is_exporting is new in 2.7. Up to 2.11 Dynamo takes it for true also where torch.compile traces;
# the flag that it returns is right.
if RELEASE >= (2, 12):
    is_exporting = torch.compiler.is_exporting
elif RELEASE >= (2, 7):

    def is_exporting() -> bool:
        return torch.compiler._is_exporting_flag

else:

    @constant_to_dynamo
    def is_exporting() -> bool:
        # torch.export sets a flag where it traces by itself, and a field of Dynamo's where Dynamo does.
        tracing = sys.modules.get("torch._dynamo.symbolic_convert")
        translator = tracing and getattr(tracing.tls, "current_tx", None)
        return torch.compiler._is_compiling_flag or bool(translator and translator.export)


# 2.6 lacks it, 2.8 has it. Without it, every float is taken for one that varies.
if RELEASE >= (2, 8):

    def has_static_value(value: float) -> bool:
        """Whether a float is a constant to torch.compile while that traces."""
        from torch.fx.experimental import symbolic_shapes  # imports sympy, which torch.compile has done

        return symbolic_shapes.has_static_value(value)

else:

    def has_static_value(value: float) -> bool:
        return False


# tolist raises within torch.func, which wraps every tensor, in 2.6 and 2.8; not in 2.10.
if RELEASE >= (2, 10):

    def numbers(x: torch.Tensor) -> list[int]:
        """x.tolist() of an integer tensor, (n,)."""
        return x.tolist()

else:

    def numbers(x: torch.Tensor) -> list[int]:
        return [int(word) for word in x.cpu()]


def not_compiled(reason: str) -> Callable[[Callable], Callable]:
    """torch.compiler.disable, which takes a reason since 2.7. Imports torch._dynamo."""
    reasons: dict[str, Any] = {"reason": reason} if RELEASE >= (2, 7) else {}
    with torch.device("cpu"):  # 2.6 cannot import torch._dynamo while the default device is meta
        return torch.compiler.disable(**reasons)


# fp32_precision is new in 2.9, and allow_tf32 is the same setting by its older name. From then on it raises where
# both names were written, while these two never do.
if RELEASE >= (2, 9):

    def general_float32_precision() -> str:
        """ "none", "ieee" or "tf32": what holds for all operations that have no setting of their own."""
        return torch.backends.fp32_precision  # type: ignore[attr-defined]

    @constant_to_dynamo  # guarded all the same: Dynamo's guard on global state, in every graph, holds this answer
    def matmul_float32_precision() -> str:
        """The same for products on CUDA: their own setting, or where they have none what they inherit."""
        return torch.backends.cuda.matmul.fp32_precision

else:

    def general_float32_precision() -> str:
        return "none"

    @constant_to_dynamo
    def matmul_float32_precision() -> str:
        return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def fsdp_runs_on(device_type: str) -> bool:
    """Whether FSDP2 does: 2.6 lacks what it calls on the CPU, 2.8 has it."""
    return device_type != "cpu" or hasattr(torch.cpu.Stream, "record_event")
