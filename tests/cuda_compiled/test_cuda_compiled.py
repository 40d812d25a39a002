"""Every .cu file compiled by nvcc for sm_80, sm_90a and sm_100a: what came out. None of it needs a GPU.

The compiler is deterministic, so a red test is a kernel, a tile or a new nvcc that changed something.
"""

from collections import Counter

import pytest

from tests.cuda_compiled.cuda_kernels import (
    KERNELS,
    KERNELS_FOLDER,
    SOURCES,
    TOTAL,
    Kernel,
    architectures,
    marks_of,
    of_source,
)
from tests.cuda_compiled.nvcc import Compiled
from tests.support.machine_code import GLOBAL_LOADS, SPILLS, MachineCode, warnings
from tests.support.properties import assert_each

MEMORY = ("LD", "LDG", "LDGSTS", "ST", "STG", "ATOM", "ATOMG", "RED", "REDG", "UTMALDG")
FENCES = ("MEMBAR", "ERRBAR", "CCTL")  # what a fence of more than the block, or an acquire beyond it, costs
EXCHANGE = ("standardize", "gram_backward")  # blocks of a cluster exchange numbers
# Accesses that move matrices, or their split tiles, 16 bytes at a time.
WIDE = {
    "standardize": {"LDGSTS", "STG"},
    "standardize_gram": {"LDGSTS", "STG"},
    "gram_tiles": {"STG"},
    "gram_combine": {"LDG"},
    "gram_backward": {"LDGSTS", "STG"},
    "gram_product": set(),
    "gram_apply": {"LDGSTS", "LDG", "STG"},
    "correlation_tiles": {"STG"},
    "correlation_combine": {"LDG"},
    "correlation_diagonal": set(),
    "correlation_backward": {"LDGSTS", "STG"},
}


@pytest.mark.parametrize(
    "source, arch",
    [pytest.param(source, arch, marks=marks_of(arch)) for source in SOURCES for arch in architectures(source)],
)
def test_file(compiled, source, arch):
    """nvcc compiles it alone: there is nothing of torch on the include path."""
    assert_each([no_warning, every_kernel_is_known], compiled, source, arch)


def no_warning(compiled: Compiled, source: str, arch: str) -> None:
    """ptxas's C7510 to C7515 above all: wgmma instructions that wait for each other."""
    assert warnings(compiled.messages) == ()


def every_kernel_is_known(compiled: Compiled, source: str, arch: str) -> None:
    assert set(compiled.kernels) == {x.instance for x in of_source(source, arch)}


def test_setup_compiles_the_files_for_these_architectures(compilations):
    for source in SOURCES:
        known = {arch for arch in architectures(source) if compilations.knows(arch)}
        assert set(compilations.of_setup(KERNELS_FOLDER / source)) == known, source


def test_no_kernel_is_in_two_files():
    """Before CUDA 13 the linker keeps one of two host functions of that name, and with it the machine code of its
    file, which need not be for the GPU at hand: what sm90/ has is for sm_90a alone."""
    files = Counter(instance for _, instance in {(x.source, x.instance) for x in KERNELS})
    assert [instance for instance, count in files.items() if count > 1] == []


@pytest.mark.parametrize("kernel", [pytest.param(x, marks=marks_of(x.arch)) for x in KERNELS], ids=str)
def test_kernel(code: MachineCode, kernel: Kernel):
    assert_each(PROPERTIES, code, kernel)


def all_is_in_registers(code: MachineCode, kernel: Kernel) -> None:
    assert code.stack == 0
    assert not [x.opcode for x in code.instructions if x.base in SPILLS]


def matrix_instructions(code: MachineCode, kernel: Kernel) -> None:
    products = set() if kernel.operands == "ieee" else {"HGMMA" if kernel.hopper else "HMMA"}
    assert code.matrix_instructions() == (products if kernel.is_product else set())
    assert bool(code.product_loops()) == kernel.is_product


def operands_move_16_bytes_at_a_time(code: MachineCode, kernel: Kernel) -> None:
    """On Hopper by TMA, elsewhere by cp.async; standardize_gram has its operands where it made them."""
    if kernel.is_product:
        loads = {x.opcode for loop in code.product_loops() for x in loop if x.base in GLOBAL_LOADS}
        assert not [opcode for opcode in loads if not opcode.startswith("LDGSTS") or ".128" not in opcode]
        assert ("UTMALDG" in bases(code)) == kernel.hopper


def matrices_move_16_bytes_at_a_time(code: MachineCode, kernel: Kernel) -> None:
    wide = WIDE[kernel.name]
    if kernel.name.endswith("backward") and kernel.itemsize == 4:
        wide = set()  # eight lanes move a sector, 4 bytes each: backward_tile.cuh
    if kernel.forward == TOTAL:
        wide = set()  # rows of a packed triangle, or of D numbers, begin anywhere
    assert wide <= {x.base for x in code.instructions if x.base in MEMORY and x.bytes == 16}


def product_is_stored_8_bytes_at_a_time(code: MachineCode, kernel: Kernel) -> None:
    """T's neighbours in a thread; beside them there is a sum for each row."""
    if kernel.name == "gram_product":
        widths = Counter(x.bytes for x in code.instructions if x.base == "STG")
        assert widths[8] >= kernel.tile.columns // 4 and widths.total() - widths[8] <= 2


def product_loop_fences_nothing(code: MachineCode, kernel: Kernel) -> None:
    """The barriers of Hopper's ring order the copies' and wgmma's accesses by themselves."""
    if kernel.hopper and kernel.is_product:
        assert not [x.opcode for loop in code.product_loops() for x in loop if x.base in FENCES]


def blocks_of_a_cluster_wait_for_each_other(code: MachineCode, kernel: Kernel) -> None:
    if kernel.arch != "sm_80" and (kernel.name in EXCHANGE or (kernel.hopper and kernel.is_product)):
        assert {"UCGABAR_ARV", "UCGABAR_WAIT"} <= bases(code)


def waits_for_the_grid_before_it_touches_memory(code: MachineCode, kernel: Kernel) -> None:
    """Programmatic dependent launch: griddepcontrol.wait comes first."""
    if kernel.arch != "sm_80":
        wait = next((x for x in code.instructions if x.base == "ACQBULK"), None)
        assert wait is not None
        before = [x for x in code.instructions if x.address < wait.address]
        assert "PREEXIT" in {x.base for x in before}  # the next grid may start
        assert not set(MEMORY) & {x.base for x in before}
        assert all(x.target is None or x.target <= wait.address for x in before)  # nothing goes around it


PROPERTIES = (
    all_is_in_registers,
    matrix_instructions,
    operands_move_16_bytes_at_a_time,
    matrices_move_16_bytes_at_a_time,
    product_is_stored_8_bytes_at_a_time,
    product_loop_fences_nothing,
    blocks_of_a_cluster_wait_for_each_other,
    waits_for_the_grid_before_it_touches_memory,
)


def bases(code: MachineCode) -> set[str]:
    return {x.base for x in code.instructions}
