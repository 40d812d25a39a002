"""The GPU tests run for every backend that has kernels of its own: conftest.py above leaves eager out here."""

from functools import partial

import pytest

from tests.gpu import native
from tests.support.selection import only_on

pytest_ignore_collect = only_on("cuda")


@pytest.fixture
def step(backend):
    """(z_a, z_b, **options) -> (loss, on_diagonal, off_diagonal, dz_a, dz_b) of this backend."""
    return partial(native.step, backend=backend)
