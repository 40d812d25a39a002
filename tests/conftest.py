"""Fixtures that span the suite: which backend and which formulation, and the loss bound to them."""

import os
import shutil
from functools import partial

# Before torch loads OpenMP: threads that spin at every barrier make small operations a hundred times slower where
# other processes want the same cores.
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import pytest
import torch

from bt_kernels import barlow_twins_loss
from bt_kernels.backends.registry import availabilities

# Deterministic examples: a red run is red again. No deadline: machines differ, and no test asserts time.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(params=["cpu", "eager"])
def backend(request) -> str:
    ok, reason = availabilities(torch.device("cpu"))[request.param]
    if not ok and "BT_KERNELS_CPP=0" not in reason and any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.fail(f"there is a C++ compiler here, but the {request.param} backend does not work: {reason}")
    if not ok:
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=["correlation", "gram"])
def formulation(request) -> str:
    return request.param


@pytest.fixture
def terms(backend, formulation):
    """barlow_twins_loss(z_a, z_b, **options) -> LossTerms for this backend and formulation."""
    return partial(barlow_twins_loss, backend=backend, formulation=formulation, return_terms=True)


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
