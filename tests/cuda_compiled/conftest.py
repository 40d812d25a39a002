"""The CUDA kernels compiled for GPUs that need not be here, on all cores, where no earlier run has done so."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS_FOLDER, SOURCES, architectures
from tests.cuda_compiled.cuda_launches import Recorder
from tests.cuda_compiled.nvcc import Compilations, Compiled, link
from tests.support.machine_code import MachineCode, find_cuobjdump
from tests.support.outcomes import Outcomes
from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")


RECORDER = Path(__file__).parent / "record_launches.cu"


@pytest.fixture(scope="session")
def compilations(request) -> Iterator[Compilations]:
    from build_cuda import CannotBuild

    if find_cuobjdump() is None:
        pytest.skip("cuobjdump is not here, neither Triton's nor the CUDA toolkit's: machine code is not read")
    outcomes = Outcomes(request.config.cache.mkdir("cuda_compiled"), most=100)
    try:
        found = Compilations(outcomes)
    except CannotBuild:
        pytest.skip("nvcc is not here: the CUDA kernels are not compiled")
    here = [item for item in request.session.items if item.path.parent == Path(__file__).parent]
    parameters = [item.callspec.params for item in here if hasattr(item, "callspec")]
    selected = {(p["source"], p["arch"]) for p in parameters if "source" in p}
    selected |= {(p["kernel"].source, p["kernel"].arch) for p in parameters if "kernel" in p}
    # Those of the products take longest.
    for source, arch in sorted(selected, key=lambda x: (not x[0].startswith("launches/"), x)):
        if found.knows(arch):
            found.begin(KERNELS_FOLDER / source, arch)
    yield found
    outcomes.close()


@pytest.fixture(scope="session")
def compiled_for(compilations) -> Callable[[str | Path, str], Compiled]:
    """(source below csrc/cuda or elsewhere, architecture) -> Compiled."""

    @cache
    def compiled_for(source: str | Path, arch: str) -> Compiled:
        if not compilations.knows(arch):
            pytest.skip(f"nvcc {compilations.toolkit.version} does not know {arch}")
        return compilations(KERNELS_FOLDER / source, arch)  # which an absolute path is not changed by

    return compiled_for


@pytest.fixture
def compiled(compiled_for, source, arch) -> Compiled:
    return compiled_for(source, arch)


@pytest.fixture
def code(compiled_for, kernel) -> MachineCode:
    compiled = compiled_for(kernel.source, kernel.arch)
    assert kernel.instance in compiled.kernels, "not instantiated: see test_file"
    return compiled.kernels[kernel.instance]


@pytest.fixture(scope="session")
def recorder_for(compilations, compiled_for, tmp_path_factory) -> Callable[[str], Recorder]:
    """architecture -> the host side of csrc/cuda, all of it that a GPU of that architecture may be given."""

    @cache
    def recorder_for(arch: str) -> Recorder:
        sources = [RECORDER, *(source for source in SOURCES if arch in architectures(source))]
        for source in sources:
            compilations.begin(KERNELS_FOLDER / source, arch)
        compiled = [compiled_for(source, arch) for source in sources]
        library = tmp_path_factory.mktemp("recorder") / f"{arch}.so"
        link(compilations.toolkit, [x.object for x in compiled], library)
        return Recorder(library, {name: instance for x in compiled for name, instance in x.instances.items()})

    return recorder_for
