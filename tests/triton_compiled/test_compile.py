"""That a compilation is another one once anything is different that it depends on."""

import importlib
import sys
from dataclasses import replace

import pytest

pytest.importorskip("triton", reason="Triton is not installed: there is nothing to compile")

from tests.triton_compiled import compile as compiler
from tests.triton_compiled.compile import Variant

HELPER = """
import triton
import triton.language as tl

FACTOR = tl.constexpr(2)

@triton.jit
def scaled(x):
    return x * FACTOR
"""
KERNEL = """
import triton
import triton.language as tl

from helper_of_copy import scaled

@triton.jit
def copy_kernel(source, target, N, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(target + index, scaled(tl.load(source + index, index < N)), index < N)
"""
SIGNATURE = (("source", "*fp32"), ("target", "*fp32"), ("N", "i32"), ("BLOCK", "constexpr"))
VARIANT = Variant("copy_of", "copy_kernel", 90, SIGNATURE, (("BLOCK", 64),), ("N",), (("num_warps", 4),))


@pytest.fixture
def key_of(tmp_path, monkeypatch):
    """key_of(variant, kernel, helper) of modules with these texts."""
    monkeypatch.syspath_prepend(tmp_path)
    made = iter(range(100))

    def key_of(variant=VARIANT, kernel=KERNEL, helper=HELPER):
        number = next(made)  # a module's lines are read once
        (tmp_path / f"helper_{number}.py").write_text(helper)
        (tmp_path / f"kernel_{number}.py").write_text(kernel.replace("helper_of_copy", f"helper_{number}"))
        importlib.invalidate_caches()
        return replace(variant, module=f"kernel_{number}").key()

    yield key_of
    for name in [name for name in sys.modules if name.startswith(("helper_", "kernel_"))]:
        del sys.modules[name]


def test_nothing_is_different(key_of):
    assert key_of() == key_of()


@pytest.mark.parametrize(
    "kernel, helper",
    [
        (KERNEL.replace("index < N", "index <= N"), HELPER),
        (KERNEL, HELPER.replace("x * FACTOR", "FACTOR + x")),
        (KERNEL, HELPER.replace("constexpr(2)", "constexpr(3)")),
    ],
    ids=["the kernel", "what it calls", "a constant of that"],
)
def test_texts(key_of, kernel, helper):
    assert key_of(kernel=kernel, helper=helper) != key_of()


@pytest.mark.parametrize(
    "change",
    [
        {"arch": 80},
        {"signature": (SIGNATURE[0], ("target", "*bf16"), *SIGNATURE[2:])},
        {"constexprs": (("BLOCK", 128),)},
        {"aligned": ()},
        {"options": (("num_warps", 8),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_variants(key_of, change):
    assert key_of(replace(VARIANT, **change)) != key_of()


def test_another_reader(key_of, monkeypatch):
    before = key_of()
    monkeypatch.setattr(compiler, "readers", lambda: "newer")
    assert key_of() != before
