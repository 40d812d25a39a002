"""Every specialization that the backend launches: recorded from its own launches of tensors without data.

The shapes come from the limits in heuristics.py, so a new row or a new kernel is among them without an entry here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from triton.runtime.jit import JITFunction

from bt_kernels.backends.float32_products import tf32
from bt_kernels.backends.triton import correlation, gram, heuristics, launch
from bt_kernels.backends.triton.heuristics import Gpu
from bt_kernels.backends.triton.launch import operands
from bt_kernels.backends.triton.standardize import standardize
from tests.triton_compiled.compile import Variant
from tests.triton_compiled.tables import GPUS, SMALL_GPUS, TABLES, batch_sizes, standardize_sizes

KINDS = {"16-bit": torch.bfloat16, "tf32": torch.float32, "ieee": torch.float32}
TYPES = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32", torch.float64: "*fp64"}
OPTIONS = (0.005, 1.0, 1e-5)  # lambd, scale, eps
GRADIENTS = torch.empty((), device="meta"), None, None  # of loss, on_diagonal, off_diagonal


def last(name: str) -> str:
    """Of a member's dotted name."""
    return name.split(".")[-1]


@dataclass(frozen=True)
class Launch:
    """A variant, the kind of its operands, and the GPU whose shared memory it was chosen for."""

    variant: Variant
    kind: str
    gpu: Gpu

    @property
    def is_float16(self) -> bool:
        return "*fp16" in dict(self.variant.signature).values()

    def __str__(self) -> str:
        v = self.variant
        z = {last(name): kind for name, kind in v.signature}.get("y", "").strip("*")
        sizes = [f"{last(name)}{value}" for name, value in v.constexprs if last(name).isupper() or value == 1]
        absent = [f"no_{last(name)}" for name, value in v.constexprs if value is None]
        ragged = [f"ragged_{last(name)}" for name in v.sizes if name not in v.aligned]
        options = [f"{name}{value}" for name, value in v.options]
        gpu = f"{self.gpu.shared_bytes >> 10}K"
        parts = [f"sm_{v.arch}", gpu, v.name, self.kind, z, *sizes, *absent, *ragged, *options]
        return "-".join(parts)


def members(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Of a NamedTuple all that are in it; of any other value itself."""
    if isinstance(value, tuple):
        for field, x in zip(value._fields, value, strict=True):
            yield from members(f"{name}.{field}", x)
    else:
        yield name, value


def specialize(kernel: JITFunction, arguments: dict, arch: int, options: dict) -> Variant:
    """As Triton specializes a launch: None and 1 are constants, multiples of 16 are known as such."""
    signature, constexprs, aligned = {}, {}, []
    for parameter in kernel.params:
        for name, value in members(parameter.name, arguments[parameter.name]):
            if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
                signature[name], constexprs[name] = "constexpr", value
            elif isinstance(value, float):
                signature[name] = "fp32"
            else:
                tensor = isinstance(value, Tensor)
                signature[name] = TYPES[value.dtype] if tensor else "i32" if value < 2**31 else "i64"
                if tensor or value % 16 == 0:
                    aligned.append(name)
    return Variant(
        kernel.fn.__module__,
        kernel.fn.__name__,
        arch,
        tuple(signature.items()),
        tuple(constexprs.items()),
        tuple(aligned),
        tuple(options.items()),
    )


@contextmanager
def recording(gpu: Gpu, arch: int, kind: str, found: dict[tuple, Launch]):
    """Launches within are noted instead of made, as if on that GPU and with that kind of operands."""

    def run(self, *args, grid, warmup, num_warps=4, num_stages=3, **kwargs):
        arguments = dict(zip(self.arg_names, args, strict=False))
        options = {"num_warps": num_warps, "num_stages": num_stages}
        for name, value in kwargs.items():
            (arguments if name in self.arg_names else options)[name] = value
        variant = specialize(self, arguments, arch, options)
        # One is enough of launches that differ in how many parts there are, or, in the stages beside the products,
        # in whether float32 is rounded to tf32.
        fixed = tuple(
            (k, x)
            for k, x in variant.constexprs
            if x is None or last(k).startswith("stride") or (last(k).isupper() and last(k) != "TF32")
        )
        types = tuple(x for x in variant.signature if x[1].startswith("*"))
        sizes = tuple(x in variant.aligned for x in variant.sizes)
        key = variant.name, arch, types, fixed, variant.options, sizes
        found.setdefault(key, Launch(variant, kind, gpu))

    run_kernel, ask = JITFunction.run, launch.ask
    precision = torch.backends.cuda.matmul.fp32_precision
    try:
        JITFunction.run = run
        torch.backends.cuda.matmul.fp32_precision = "tf32" if kind == "tf32" else "ieee"
        launch.ask = lambda device: gpu
        yield
    finally:
        JITFunction.run = run_kernel
        torch.backends.cuda.matmul.fp32_precision = precision
        launch.ask = ask


def launch_standardize(n: int, d: int, dtype: torch.dtype) -> None:
    z = torch.empty(n, d, dtype=dtype, device="meta")
    standardize(z, z, 1e-5, True, operands(dtype, tf32(dtype)))


def launch_gram(
    n: int, d: int, dtype: torch.dtype, needs: tuple[bool, bool] = (True, True), standardized: bool = False
) -> None:
    z = torch.empty(n, d, dtype=dtype, device="meta")
    _, _, _, *residuals = gram.forward(z, z, *OPTIONS, True, tf32(dtype), any(needs))
    gram.backward(*GRADIENTS, z, z, *residuals, *OPTIONS, True, standardized, tf32(dtype), *needs)


def launch_correlation(n: int, d: int, dtype: torch.dtype) -> None:
    z = torch.empty(n, d, dtype=dtype, device="meta")
    _, _, _, *residuals = correlation.forward(z, z, *OPTIONS, True, tf32(dtype), True)
    batch = None, True, False
    correlation.backward(*GRADIENTS, z, z, *residuals, *OPTIONS[:2], *batch, tf32(dtype), True, True)


def launch_gram_in_halves(n: int, d: int, dtype: torch.dtype, needs_backward: bool = True) -> None:
    """The first half with the rows' own statistics; launch_correlation_in_halves has given ones."""
    z = torch.empty(n, d, dtype=dtype, device="meta")
    triangles, sums, *of_features = gram.partial(z, z, None, OPTIONS[2], True, tf32(dtype), needs_backward)
    *_, shifts, k = gram.total(triangles, sums, n, dtype, *OPTIONS[:2], tf32(dtype), needs_backward)
    if needs_backward:
        gram.backward(*GRADIENTS, z, z, *of_features, shifts, k, *OPTIONS, True, False, tf32(dtype), True, True)


def launch_correlation_in_halves(rows: int, d: int, dtype: torch.dtype, standardized: bool = False) -> None:
    n = 16 * rows
    z = torch.empty(rows, d, dtype=dtype, device="meta")
    statistics = torch.empty(3, 2, d, dtype=torch.float64, device="meta")
    c, *of_rows = correlation.partial(z, z, statistics, n, tf32(dtype), True)
    _, _, _, *of_c = correlation.total(c, n, dtype, *OPTIONS[:2], tf32(dtype), True)
    batch = n, True, standardized
    correlation.backward(*GRADIENTS, z, z, *of_rows, *of_c, *OPTIONS[:2], *batch, tf32(dtype), True, True)


def launches() -> list[Launch]:
    found: dict[tuple, Launch] = {}
    of_gram = batch_sizes(list(TABLES.values()))
    of_correlation = batch_sizes([table for name, table in TABLES.items() if name.startswith("CORRELATION")])
    for arch, kind in product(GPUS, KINDS):
        for gpu in (GPUS[arch], *(SMALL_GPUS if arch == 80 else ())):
            with recording(gpu, arch, kind, found):
                for n in standardize_sizes():
                    launch_standardize(n, 8192, KINDS[kind])
                for n in of_gram:
                    launch_gram(n, 8192, KINDS[kind])
                    launch_gram(n, 2048, KINDS[kind])  # too few of the largest tiles
                for n in of_correlation:
                    launch_correlation(n, 256, KINDS[kind])  # the batch is split
                launch_correlation(8192, 8192, KINDS[kind])  # not split
        if kind != "16-bit" and arch != 80:
            continue  # one type for each architecture and one architecture for each type: there are many
        with recording(GPUS[arch], arch, kind, found):
            for n in (heuristics.FUSED_MAX_N, 2 * heuristics.FUSED_MAX_N):
                launch_gram_in_halves(n, 8192, KINDS[kind])
            launch_correlation_in_halves(1024, 256, KINDS[kind])  # the rows are split
            launch_correlation_in_halves(256, 8192, KINDS[kind])  # not split
    # What no table depends on needs one architecture: N < D, ragged sizes, one row, each view alone, float16,
    # embeddings that arrive standardized.
    # Beside the products tf32 is float32.
    for kind in ("16-bit", "ieee"):
        with recording(GPUS[80], 80, kind, found):
            launch_gram(256, 8192, KINDS[kind], (False, False))
            launch_gram(250, 1001, KINDS[kind], (True, False))
            launch_gram(1001, 8200, KINDS[kind], (False, True))
            launch_correlation(256, 8192, KINDS[kind])
            launch_correlation(1001, 250, KINDS[kind])
    with recording(GPUS[80], 80, "16-bit", found):
        launch_gram_in_halves(250, 1, torch.bfloat16, needs_backward=False)
        launch_correlation_in_halves(1, 250, torch.bfloat16)
        launch_gram(256, 8192, torch.bfloat16, standardized=True)
        launch_gram(1024, 8192, torch.bfloat16, standardized=True)
        launch_correlation_in_halves(256, 8192, torch.bfloat16, standardized=True)
    with recording(GPUS[90], 90, "16-bit", found):
        launch_gram(256, 8192, torch.float16)
        launch_gram(1024, 8192, torch.float16)
        launch_correlation(4096, 256, torch.float16)
    return list(found.values())
