"""The emulated GPU with test kernels of its own, built once per session."""

from collections.abc import Iterator

import pytest

from tests.cuda_emulated.build import EMULATED, build
from tests.cuda_emulated.emulated_gpu import MODES, EmulatedGpu
from tests.support.selection import only_on

pytest_ignore_collect = only_on("emulated")


@pytest.fixture(scope="session")
def kernels(pytestconfig) -> EmulatedGpu:
    folder = pytestconfig.cache.mkdir("cuda_emulated")
    return EmulatedGpu(build(folder, "test_kernels", sorted((EMULATED / "kernels").glob("*.cu"))))


@pytest.fixture
def gpu(kernels) -> Iterator[EmulatedGpu]:
    kernels.reset()
    yield kernels
    kernels.reset()


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def any_order(gpu, request) -> EmulatedGpu:
    gpu.bt_emulated_asynchrony(request.param)
    return gpu
