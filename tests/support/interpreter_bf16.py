"""Makes bfloat16 right in Triton's CPU interpreter. To be imported before a kernel is decorated.

The interpreter (3.6 to 3.9) keeps bfloat16 as uint16 bit patterns and lets numpy calculate with the patterns; its
casts to bfloat16 cut bits off where a GPU rounds to nearest even. Here every operation on bfloat16 widens to
float32, and its result is rounded once, as on a GPU. Loads, stores and selections only move the patterns and were
right.
"""

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

QUIET_NAN = np.uint16(0x7FC0)


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 to the bit patterns of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), QUIET_NAN, nearest).reshape(np.shape(values))


def is_bf16(handle: TensorHandle) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def wide(handle: TensorHandle) -> TensorHandle:
    return TensorHandle(widened(handle.data), tl.float32) if is_bf16(handle) else handle


def narrow(handle: TensorHandle) -> TensorHandle:
    return TensorHandle(rounded(handle.data), tl.bfloat16)


def around_cast(cast):
    def patched(self, source, target_type):
        from_bf16, to_bf16 = is_bf16(source), target_type.scalar == tl.bfloat16
        if to_bf16 and not from_bf16:
            return TensorHandle(rounded(source.data.astype(np.float32)), tl.bfloat16)
        return cast(self, wide(source) if from_bf16 and not to_bf16 else source, target_type)

    return patched


def around_dot(dot):
    def patched(self, a, b, accumulator, *how):
        return dot(self, wide(a), wide(b), accumulator, *how)

    return patched


def around_arithmetic(operation):
    """Unary, binary and fused operations on handles; the operator comes last."""

    def patched(self, *arguments):
        if not any(isinstance(x, TensorHandle) and is_bf16(x) for x in arguments):
            return operation(self, *arguments)
        result = operation(self, *(wide(x) if isinstance(x, TensorHandle) else x for x in arguments))
        # A comparison's result is of its operands' type to the interpreter, but holds booleans.
        return TensorHandle(result.data, tl.int1) if result.data.dtype == bool else narrow(result)

    return patched


for method in ("unary_op", "binary_op", "create_fma", "create_rsqrt", "create_clampf"):
    setattr(InterpreterBuilder, method, around_arithmetic(getattr(InterpreterBuilder, method)))
InterpreterBuilder.cast_impl = around_cast(InterpreterBuilder.cast_impl)
InterpreterBuilder.create_dot = around_dot(InterpreterBuilder.create_dot)
InterpreterBuilder.get_bf16 = lambda self, value: narrow(self.get_fp32(value))
