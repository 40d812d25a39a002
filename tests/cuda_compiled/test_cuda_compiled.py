"""Every .cu file compiled by nvcc for sm_80, sm_90a and sm_100a: what came out. None of it needs a GPU.

The compiler is deterministic, so a red test is a kernel, a tile or a new nvcc that changed something.
"""

from collections import Counter

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS, SOURCES, TOTAL, Kernel, architectures, of_source
from tests.support.machine_code import GLOBAL_LOADS, SPILLS, MachineCode, warnings

MEMORY = ("LD", "LDG", "LDGSTS", "ST", "STG", "ATOM", "ATOMG", "RED", "REDG", "UTMALDG")
FENCES = ("MEMBAR", "ERRBAR", "CCTL")  # what a fence of more than the block, or an acquire beyond it, costs
EXCHANGE = ("standardize", "gram_gradient")  # blocks of a cluster exchange numbers
# Accesses that move matrices, or their partial tiles, 16 bytes at a time.
WIDE = {
    "standardize": {"LDGSTS", "STG"},
    "standardize_gram": {"LDGSTS", "STG"},
    "gram_tiles": {"STG"},
    "gram_combine": {"LDG"},
    "gram_gradient": {"LDGSTS", "STG"},
    "gram_product": set(),
    "gram_apply": {"LDGSTS", "LDG", "STG"},
    "correlation_tiles": {"STG"},
    "correlation_combine": {"LDG"},
    "correlation_diagonal": set(),
    "correlation_gradient": {"LDGSTS", "STG"},
}

every_source = pytest.mark.parametrize("source", SOURCES)
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=str)
every_product = pytest.mark.parametrize("kernel", [x for x in KERNELS if x.is_product], ids=str)


@every_source
def test_compiles_with_nvcc_alone(compiled):
    """There is nothing of torch on the include path."""
    assert compiled.succeeded, compiled.messages


@every_source
def test_no_warning(compiled):
    """ptxas's C7510 to C7515 above all: wgmma instructions that wait for each other."""
    assert warnings(compiled.messages) == ()


@every_source
def test_every_kernel_is_known(compiled, compilations, source):
    known = {(x.instance, x.arch) for arch in architectures(source) for x in of_source(source, arch)}
    assert set(compiled.kernels) == known


def test_no_kernel_is_in_two_files(compilations):
    """Before CUDA 13 the linker keeps one of two host functions of that name, and with it the machine code of its
    file, which need not be for the GPU at hand: what sm90/ has is for sm_90a alone."""
    files = Counter(name for source in SOURCES for name in compilations[source].instances.values())
    assert [name for name, count in files.items() if count > 1] == []


@every_kernel
def test_all_is_in_registers(code: MachineCode, kernel: Kernel):
    assert code.stack == 0
    assert not [x.opcode for x in code.instructions if x.base in SPILLS]


@every_kernel
def test_matrix_instructions(code: MachineCode, kernel: Kernel):
    products = set() if kernel.operands == "ieee" else {"HGMMA" if kernel.hopper else "HMMA"}
    assert code.matrix_instructions() == (products if kernel.is_product else set())
    assert bool(code.product_loops()) == kernel.is_product


@every_product
def test_operands_move_16_bytes_at_a_time(code: MachineCode, kernel: Kernel):
    """On Hopper by TMA, elsewhere by cp.async; standardize_gram has its operands where it made them."""
    loads = {x.opcode for loop in code.product_loops() for x in loop if x.base in GLOBAL_LOADS}
    assert not [opcode for opcode in loads if not opcode.startswith("LDGSTS") or ".128" not in opcode]
    assert ("UTMALDG" in bases(code)) == kernel.hopper


@every_kernel
def test_matrices_move_16_bytes_at_a_time(code: MachineCode, kernel: Kernel):
    wide = WIDE[kernel.name]
    if kernel.name.endswith("gradient") and kernel.itemsize == 4:
        wide = set()  # eight lanes move a sector, 4 bytes each: backward_tile.cuh
    if kernel.forward == TOTAL:
        wide = set()  # rows of a packed triangle, or of D numbers, begin anywhere
    assert wide <= {x.base for x in code.instructions if x.base in MEMORY and x.bytes == 16}


@pytest.mark.parametrize("kernel", [x for x in KERNELS if x.name == "gram_product"], ids=str)
def test_product_is_stored_8_bytes_at_a_time(code: MachineCode, kernel: Kernel):
    """T's neighbours in a thread; beside them there is a sum for each row."""
    widths = Counter(x.bytes for x in code.instructions if x.base == "STG")
    assert widths[8] >= kernel.tile.columns // 4 and widths.total() - widths[8] <= 2


@pytest.mark.parametrize("kernel", [x for x in KERNELS if x.hopper and x.is_product], ids=str)
def test_product_loop_fences_nothing(code: MachineCode, kernel: Kernel):
    """The barriers of its ring order the copies' and wgmma's accesses by themselves."""
    assert not [x.opcode for loop in code.product_loops() for x in loop if x.base in FENCES]


@every_kernel
def test_blocks_of_a_cluster_wait_for_each_other(code: MachineCode, kernel: Kernel):
    if kernel.arch != "sm_80" and (kernel.name in EXCHANGE or (kernel.hopper and kernel.is_product)):
        assert {"UCGABAR_ARV", "UCGABAR_WAIT"} <= bases(code)


@pytest.mark.parametrize("kernel", [x for x in KERNELS if x.arch != "sm_80"], ids=str)
def test_waits_for_the_grid_before_it_touches_memory(code: MachineCode, kernel: Kernel):
    """Programmatic dependent launch: griddepcontrol.wait comes first."""
    wait = next(x for x in code.instructions if x.base == "ACQBULK")
    before = [x for x in code.instructions if x.address < wait.address]
    assert "PREEXIT" in {x.base for x in before}  # the next grid may start
    assert not set(MEMORY) & {x.base for x in before}
    assert all(x.target is None or x.target <= wait.address for x in before)  # nothing goes around it


def bases(code: MachineCode) -> set[str]:
    return {x.base for x in code.instructions}
