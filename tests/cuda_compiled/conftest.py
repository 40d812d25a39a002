"""The CUDA kernels compiled for GPUs that need not be here, once per session, on all cores."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS_FOLDER, SOURCES
from tests.cuda_compiled.cuda_launches import Recorder
from tests.cuda_compiled.nvcc import GPUS, Compiled, compile_source, link, objects_in
from tests.support.machine_code import MachineCode, find_cuobjdump

MAX_WORKERS = 16
RECORDER = Path(__file__).parent / "record_launches.cu"


class Compilations:
    """Source -> Compiled, compiled when it is first asked for or begun before."""

    def __init__(self, toolkit, folder: Path, pool: ProcessPoolExecutor) -> None:
        self.toolkit, self.folder = toolkit, folder
        self.objects, self.pool = objects_in(folder, toolkit), pool
        self.objects.paths[RECORDER] = folder / "record_launches.o"
        self.begun: dict[Path, Future] = {}

    def begin(self, source: Path) -> None:
        if source not in self.begun:
            command, made = self.objects.command(source), self.objects.paths[source]
            self.begun[source] = self.pool.submit(compile_source, command, made)

    def __getitem__(self, source: str | Path) -> Compiled:
        source = KERNELS_FOLDER / source  # which an absolute path is not changed by
        self.begin(source)
        return self.begun[source].result()


@pytest.fixture(scope="session")
def compilations(request, tmp_path_factory) -> Iterator[Compilations]:
    from build_cuda import CannotBuild, find_toolkit

    try:
        toolkit = find_toolkit()
    except CannotBuild:
        pytest.skip("nvcc is not here: the CUDA kernels are not compiled")
    if find_cuobjdump() is None:
        pytest.skip("cuobjdump is not here, neither Triton's nor the CUDA toolkit's: machine code is not read")
    here = [item for item in request.session.items if item.path.parent == Path(__file__).parent]
    parameters = [item.callspec.params for item in here if hasattr(item, "callspec")]
    selected = {p["kernel"].source if "kernel" in p else p.get("source") for p in parameters} - {None}
    # A fork would inherit torch's threads in whatever state they are. Whoever works beside the tests goes first.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count(), MAX_WORKERS), context, os.nice, (10,)) as pool:
        found = Compilations(toolkit, tmp_path_factory.mktemp("cuda"), pool)
        # Those of the products take longest.
        for source in sorted(selected, key=lambda x: (not x.startswith("launches/"), x)):
            found.begin(KERNELS_FOLDER / source)
        yield found
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def compiled(compilations, source) -> Compiled:
    return compilations[source]


@pytest.fixture
def code(compilations, kernel) -> MachineCode:
    if GPUS[kernel.arch].capability not in compilations.toolkit.capabilities:
        pytest.skip(f"nvcc {compilations.toolkit.version} does not know {kernel.arch}")
    compiled = compilations[kernel.source]
    assert compiled.succeeded, compiled.messages
    assert (kernel.instance, kernel.arch) in compiled.kernels, "not instantiated: see test_every_kernel_is_known"
    return compiled.kernels[kernel.instance, kernel.arch]


@pytest.fixture(scope="session")
def recorder(compilations) -> Recorder:
    """The host side of csrc/cuda, all of it."""
    for source in (RECORDER, *SOURCES):
        compilations.begin(KERNELS_FOLDER / source)
    compiled = [compilations[source] for source in (RECORDER, *SOURCES)]
    assert all(x.succeeded for x in compiled), "\n".join(x.messages for x in compiled if not x.succeeded)
    library = compilations.folder / "recorder.so"
    link(compilations.toolkit, [x.object for x in compiled], library)
    return Recorder(library, {name: instance for x in compiled for name, instance in x.instances.items()})
