"""What the ops launch fits the GPU, for every kind of GPU and all sorts of sizes, and every kernel is launched."""

from itertools import product

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS, Kernel
from tests.cuda_compiled.cuda_launches import GPUS, OPERANDS, Call, Gpu, Launch
from tests.support.machine_code import MachineCode

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


@pytest.fixture(scope="module")
def launches(recorder) -> dict[Gpu, list[tuple[Call, Launch]]]:
    return {gpu: [(call, x) for call in CALLS for op in recorder.launches(gpu, call) for x in op] for gpu in GPUS}


@pytest.mark.parametrize("gpu", GPUS, ids=str)
def test_launch(launches, gpu):
    for call, launch in launches[gpu]:
        assert launch.blocks >= 1 and launch.blocks % launch.cluster == 0, (call, launch)
        assert launch.threads % 32 == 0 and launch.threads <= 1024, (call, launch)
        assert launch.shared_bytes <= gpu.shared_bytes, (call, launch)
        assert launch.cluster <= gpu.max_cluster, (call, launch)
        assert not launch.dependent or gpu.capability >= 90, (call, launch)


@pytest.mark.parametrize("gpu", GPUS, ids=str)
def test_first_kernel_of_an_op_waits_for_all_that_came_before(recorder, gpu):
    """On the GPU: a kernel that starts beside the one before must be of the same op."""
    for call in CALLS:
        for first, *_ in recorder.launches(gpu, call):
            assert not first.dependent, (call, first)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_resident_blocks(recorder, launches, kernel: Kernel, code: MachineCode):
    """A multiprocessor has the registers for as many blocks as the kernel asks for, and each launch's memory."""
    own = {(gpu, x) for gpu in GPUS for _, x in launches[gpu] if x.kernel == kernel.instance}
    assert own, "launched for no GPU and no size"
    (threads,) = {launch.threads for _, launch in own}
    for gpu in (gpu for gpu in GPUS if gpu.arch == kernel.arch):
        assert recorder.resident_blocks(gpu, code.registers, threads, code.shared, 0) >= kernel.blocks
    for gpu, launch in own:
        blocks = recorder.resident_blocks(gpu, code.registers, threads, code.shared, launch.shared_bytes)
        assert blocks >= (kernel.tile.blocks if kernel.is_product else 1), (gpu, launch)


@pytest.mark.parametrize("kernel", [x for x in KERNELS if x.hopper and x.is_product], ids=str)
def test_registers_that_warpgroups_hand_over(launches, kernel: Kernel, code: MachineCode):
    """Those that multiply wait until the one that copies has given up enough of its own."""
    (threads,) = {x.threads for gpu in GPUS for _, x in launches[gpu] if x.kernel == kernel.instance}
    changes = {x.opcode.split(".")[1]: x.number for x in code.instructions if x.base == "USETMAXREG"}
    if kernel.tile.blocks == 1:
        assert 256 * changes["TRY_ALLOC"] + (threads - 256) * changes["DEALLOC"] <= threads * code.registers
    else:
        assert changes == {}
