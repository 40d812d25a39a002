"""A process that has just begun: what an import brings; a first call that is compiled, or that two threads make at
once; a second import beside the first."""

import os
import subprocess
import sys

import pytest

from tests.support import target

HEAD = """
import sys, threading, torch
before = set(sys.modules)
import bt_kernels

def views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(9, 40, generator=generator).to(device).requires_grad_() for _ in range(2)]

def bits(loss):
    z = views()
    value = loss(*z)
    return value.detach(), *torch.autograd.grad(value, z)

def of(package):
    return lambda *z: package.barlow_twins_loss(*z, backend=backend)

def compiled(package):
    return torch.compile(of(package), fullgraph=True, backend="aot_eager")

def same(left, right):
    return all(map(torch.equal, left, right))
"""

# The loss alone, uncompiled, asks for nothing of these.
HEAVY = """
device, backend = "cpu", "auto"
heavy = ("triton", "torch._dynamo", "torch._inductor", "torch.distributed", "sympy", "numpy")
def brought():
    return sorted(name for name in set(sys.modules) - before if name.startswith(heavy))
assert brought() == [], brought()
bits(of(bt_kernels))
bt_kernels.available_backends()
assert brought() == [], brought()
"""

COMPILED_FIRST = """
found = bits(compiled(bt_kernels))
assert same(found, bits(of(bt_kernels)))
"""

# Triton's interpreter cannot run in two threads: there, they only choose the backend at once.
TWO_THREADS = """
import contextlib, os
from bt_kernels.backends.registry import choose_backend
together, found = threading.Barrier(2), []
in_turn = threading.Lock() if os.environ.get("TRITON_INTERPRET") == "1" else contextlib.nullcontext()
def first_call():
    together.wait()
    choose_backend(backend, torch.device(device))
    with in_turn:
        found.append(bits(of(bt_kernels)))
threads = [threading.Thread(target=first_call) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 2 and same(*found)
"""

# With the first package's compiled loss made before or after, and collected in the end: the ops must outlive it.
SECOND_IMPORT = """
import gc, importlib
first = bt_kernels
expected = bits(of(first))
assert same(bits(compiled(first)), expected)
def forget():
    for name in [name for name in sys.modules if name.split(".")[0] == "bt_kernels"]:
        del sys.modules[name]
forget()
assert same(bits(of(first)), expected)
import bt_kernels as second
prepare()
assert second is not first and second.barlow_twins_loss is not first.barlow_twins_loss
for package in (second, first, second):
    torch._dynamo.reset()
    assert same(bits(of(package)), expected)
    assert same(bits(compiled(package)), expected)
del first, package, bt_kernels
torch._dynamo.reset()
gc.collect()
assert same(bits(compiled(second)), expected)
from bt_kernels.backends import cpu, cuda, op_shapes, ops, registry, torch_ops, triton
for module in (torch_ops, op_shapes, ops, cpu, cuda, triton, registry, second):
    importlib.reload(module)
prepare()
torch._dynamo.reset()
assert same(bits(of(second)), expected) and same(bits(compiled(second)), expected)
"""

ALL_MODULES = """
import importlib, pkgutil
def import_all():
    for module in pkgutil.walk_packages(__import__("bt_kernels").__path__, "bt_kernels."):
        if not module.name.endswith(("__main__", "._C", "._CUDA")):  # the last two hold ops, no module
            importlib.import_module(module.name)
import_all()
for name in [name for name in sys.modules if name.split(".")[0] == "bt_kernels"]:
    del sys.modules[name]
import_all()
"""


def run(script: str, **environment: str) -> None:
    command = [sys.executable, "-W", "error::UserWarning:bt_kernels", "-c", HEAD + script]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def prepared(backend: str) -> str:
    """The device, the backend, and what the tests have to load before it works there."""
    emulated = target.name() == "emulated"
    load = f"cuda.emulate(Path({str(target.emulated_library())!r}))" if emulated else "pass"
    return f"""
device, backend = {str(target.device())!r}, {backend!r}
def prepare():
    from pathlib import Path
    from bt_kernels.backends import cuda
    {load}
prepare()
"""


@pytest.mark.runs_on("cpu")
def test_what_an_import_and_a_first_call_bring():
    run(HEAVY, TRITON_INTERPRET="0", CUDA_VISIBLE_DEVICES="")


@pytest.mark.long
def test_a_compiled_first_call(backend):
    run(prepared(backend) + COMPILED_FIRST)


@pytest.mark.long
def test_a_first_call_by_two_threads(backend):
    run(prepared(backend) + TWO_THREADS)


@pytest.mark.long
def test_a_second_import_beside_the_first(backend):
    run(prepared(backend) + SECOND_IMPORT)


@pytest.mark.long
@pytest.mark.runs_on("cpu")
def test_every_module_can_be_imported_twice():
    run(ALL_MODULES)
