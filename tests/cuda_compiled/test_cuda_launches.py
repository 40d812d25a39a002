"""What the ops launch fits the GPU, for every kind of GPU and all sorts of sizes, and every kernel is launched."""

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from itertools import product

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS, Kernel, marks_of
from tests.cuda_compiled.cuda_launches import GPUS, OPERANDS, Call, Gpu, Launch, Recorder
from tests.support.machine_code import MachineCode
from tests.support.properties import assert_each

# About the sizes at which another kernel, tile or cluster is chosen, and beyond them all.
GRAM_SAMPLES = (2, 64, 100, 128, 129, 250, 256, 257, 512, 513, 1000, 1024, 1025, 2048, 2049, 4096, 4097, 8192)
FEATURES = (1, 100, 1000, 8192, 20001)
CORRELATION = ((2, 1), (300, 100), (4096, 256), (4096, 1000), (65536, 2048), (8192, 8192), (64, 1000), (256, 8192))
ROWS = ((1, 1000), *CORRELATION)  # of a share, and features
CALLS = [
    *(Call("gram", *x) for x in product(OPERANDS, GRAM_SAMPLES, FEATURES)),
    *(Call("gram", operands, n, 8192, views) for operands, n, views in product(OPERANDS, (256, 8192), (1, 2))),
    *(Call("correlation", operands, *x) for operands, x in product(OPERANDS, CORRELATION)),
    *(Call("gram", *x, halves=True) for x in product(OPERANDS, (2, 128, 257, 4096), (1, 1000))),
    *(Call("correlation", operands, *x, halves=True) for operands, x in product(OPERANDS, ROWS)),
]


def launches(recorder: Recorder, gpu: Gpu) -> list[tuple[Call, list[Launch]]]:
    """Of each op that a call is made of."""
    return [(call, op) for call in CALLS for op in recorder.launches(gpu, call)]


@pytest.mark.parametrize("gpu", [pytest.param(gpu, marks=marks_of(gpu.arch)) for gpu in GPUS], ids=str)
def test_launches(recorder_for, gpu):
    found = launches(recorder_for(gpu.arch), gpu)
    assert_each([launches_fit_the_gpu, first_kernel_of_an_op_waits_for_all_that_came_before], gpu, found)


def launches_fit_the_gpu(gpu: Gpu, found: list[tuple[Call, list[Launch]]]) -> None:
    for call, launch in ((call, launch) for call, op in found for launch in op):
        assert launch.blocks >= 1 and launch.blocks % launch.cluster == 0, (call, launch)
        assert launch.threads % 32 == 0 and launch.threads <= 1024, (call, launch)
        assert launch.shared_bytes <= gpu.shared_bytes, (call, launch)
        assert launch.cluster <= gpu.max_cluster, (call, launch)
        assert not launch.dependent or gpu.capability >= 90, (call, launch)


def first_kernel_of_an_op_waits_for_all_that_came_before(gpu: Gpu, found: list[tuple[Call, list[Launch]]]) -> None:
    """On the GPU: a kernel that starts beside the one before must be of the same op."""
    for call, (first, *_) in found:
        assert not first.dependent, (call, first)


@pytest.fixture(scope="session")
def launches_of(recorder_for) -> Callable[[Kernel], list[tuple[Gpu, Launch]]]:
    """kernel -> (GPU, launch) for the GPUs of its architecture, each once."""

    @cache
    def of_architecture(arch: str) -> dict[str, list[tuple[Gpu, Launch]]]:
        found = defaultdict(dict)
        for gpu in (gpu for gpu in GPUS if gpu.arch == arch):
            for launch in (x for _, op in launches(recorder_for(arch), gpu) for x in op):
                found[launch.kernel][gpu, launch] = None
        return found

    return lambda kernel: list(of_architecture(kernel.arch)[kernel.instance])


@pytest.mark.parametrize("kernel", [pytest.param(x, marks=marks_of(x.arch)) for x in KERNELS], ids=str)
def test_launches_of_kernel(recorder_for, launches_of, code: MachineCode, kernel: Kernel):
    own = launches_of(kernel)
    assert own, "launched for no GPU and no size"
    (threads,) = {launch.threads for _, launch in own}
    properties = [blocks_are_resident, registers_that_warpgroups_hand_over_are_there]
    assert_each(properties, recorder_for(kernel.arch), kernel, code, threads, own)


def blocks_are_resident(
    recorder: Recorder, kernel: Kernel, code: MachineCode, threads: int, own: list[tuple[Gpu, Launch]]
) -> None:
    """A multiprocessor has the registers for as many blocks as the kernel asks for, and each launch's memory."""
    for gpu in (gpu for gpu in GPUS if gpu.arch == kernel.arch):
        assert recorder.resident_blocks(gpu, code.registers, threads, code.shared, 0) >= kernel.blocks
    for gpu, launch in own:
        blocks = recorder.resident_blocks(gpu, code.registers, threads, code.shared, launch.shared_bytes)
        assert blocks >= (kernel.tile.blocks if kernel.is_product else 1), (gpu, launch)


def registers_that_warpgroups_hand_over_are_there(
    recorder: Recorder, kernel: Kernel, code: MachineCode, threads: int, own: list[tuple[Gpu, Launch]]
) -> None:
    """Those that multiply wait until the one that copies has given up enough of its own."""
    if kernel.hopper and kernel.is_product:
        changes = {x.opcode.split(".")[1]: x.number for x in code.instructions if x.base == "USETMAXREG"}
        if kernel.tile.blocks == 1:
            assert 256 * changes["TRY_ALLOC"] + (threads - 256) * changes["DEALLOC"] <= threads * code.registers
        else:
            assert changes == {}
