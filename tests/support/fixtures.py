"""Fixtures that span the suite, a plugin of tests/conftest.py: which backend and which formulation, the loss bound
to them and the standard it is held to.

accuracy.py is imported where it is used: what it imports asks for the device, which pytest has not read yet here.
"""

import shutil
from functools import partial

import pytest
import torch

from bt_kernels import available_backends, barlow_twins_terms
from bt_kernels.torch_versions import RELEASE
from tests.support import target


@pytest.fixture
def backend(request) -> str:
    ok, reason, _ = available_backends(target.device())[request.param]
    if not ok and request.param == "cuda" and target.name() == "cuda" and shutil.which("nvcc") is None:
        pytest.skip(reason)
    if not ok and request.param in target.NARROW:
        pytest.fail(f"the {request.param} backend does not work on {target.device()}: {reason}")
    asked = "BT_KERNELS_CPP=0" not in reason and RELEASE >= (2, 10)  # the stable ABI of the C++ ops
    if not ok and asked and any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.fail(f"there is a C++ compiler here, but the {request.param} backend does not work: {reason}")
    if not ok:
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=["correlation", "gram"])
def formulation(request) -> str:
    return request.param


@pytest.fixture
def terms(backend, formulation):
    """barlow_twins_terms(z_a, z_b, **options) -> LossTerms for this backend and formulation."""
    return partial(barlow_twins_terms, backend=backend, formulation=formulation)


@pytest.fixture
def widest(backend) -> torch.dtype:
    """The widest dtype that this backend takes."""
    return torch.float32 if backend in target.NARROW else torch.float64


@pytest.fixture
def narrow_products(backend, formulation):
    """What this backend rounds before its products: those for GPUs the operands, the others nothing."""
    from tests.support.accuracy import NarrowProducts

    return NarrowProducts(formulation) if backend in target.NARROW else None


@pytest.fixture
def yardstick(narrow_products):
    """(n, d, dtype, formula, seed) -> accuracy.Yardstick of inputs.views(n, d, dtype, seed) for this backend."""
    from tests.support.accuracy import yardstick

    return partial(yardstick, narrow_products)


@pytest.fixture
def yardstick_of(narrow_products):
    """(z_a, z_b, formula) -> accuracy.Yardstick of these embeddings for this backend."""
    from tests.support.accuracy import Yardstick

    return partial(Yardstick, narrow_products)


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
