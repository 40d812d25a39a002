"""Every kernel with every tile that heuristics.py can choose, compiled for sm_80, sm_90 and sm_100: what came out.

A row is chosen for what is asserted here; none of it needs a GPU. The compiler is deterministic, so a red test is
a row, a kernel or a new Triton that changed something.
"""

import pytest

pytest.importorskip("triton", reason="Triton is not installed: there is nothing to compile")

from bt_kernels.backends.triton.heuristics import Tile
from tests.support.machine_code import GLOBAL_LOADS, MATRIX, SPILLS
from tests.support.properties import assert_each
from tests.triton_compiled.compile import Report
from tests.triton_compiled.launches import Launch, launches
from tests.triton_compiled.tables import GPUS, ITEMSIZES, SMALL_GPUS, TABLES

REGISTERS = 65536  # of a multiprocessor: a block must find that many free
FEW_REGISTERS = 32  # bytes of stack per thread that any kernel may have
VECTOR_STORES = 8  # that a thread makes beside those of matrices
MATRICES = {  # outputs with rows and columns
    "standardize_kernel": {"out.y"},
    "gram_tiles_kernel": {"split_tiles"},
    "gram_combine_kernel": {"k"},
    "gram_backward_kernel": {"given.dz_a", "given.dz_b"},
    "gram_product_kernel": {"panel.product"},
    "gram_apply_kernel": {"given.dz_a", "given.dz_b"},
    "correlation_tiles_kernel": {"split_tiles", "out.c_off_diagonal", "out.c"},
    "correlation_combine_kernel": {"out.c_off_diagonal", "out.c"},
    "correlation_total_kernel": {"out.c_off_diagonal"},
    "correlation_backward_kernel": {"given.dz"},
    "finish_terms_kernel": set(),
}


def kernel_name(table: str) -> str:
    return f"{table.lower()}_kernel"


PRODUCTS = {kernel_name(table) for table in TABLES}
LAUNCHES = launches()
PRODUCT_LAUNCHES = [launch for launch in LAUNCHES if launch.variant.name in PRODUCTS]


def tile_of(launch: Launch) -> Tile:
    """The row that a product was launched with."""
    constants, options = launch.variant.constants, dict(launch.variant.options)
    sides = [constants[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_D") if name in constants]
    m, n = sides or [constants["BLOCK"]] * 2
    return Tile(m, n, constants["BLOCK_K"], options["num_warps"], options["num_stages"])


def matrices(launch: Launch) -> set[str]:
    """Those of the outputs that the launch asks for."""
    absent = {name for name, value in launch.variant.constexprs if value is None}
    return MATRICES[launch.variant.name] - absent


def reads_triangles(launch: Launch) -> bool:
    return launch.variant.name == "gram_combine_kernel" and ("split_tiles", None) in launch.variant.constexprs


def is_even(launch: Launch) -> bool:
    return set(launch.variant.sizes) <= set(launch.variant.aligned)


# A short run has every kernel once.
SHORT = {x.variant.name: x for x in LAUNCHES if x.variant.arch == 90 and x.kind == "16-bit" and not x.is_float16}


def marks_of(launch: Launch) -> tuple[pytest.MarkDecorator, ...]:
    return () if launch is SHORT[launch.variant.name] else (pytest.mark.long,)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_compiled(table):
    chosen = {(x.kind, tile_of(x)) for x in PRODUCT_LAUNCHES if x.variant.name == kernel_name(table)}
    rows = {(kind, tile) for kind, limits in TABLES[table].items() for tiles in limits.values() for tile in tiles}
    assert rows <= chosen, f"of {table} no GPU with {[*GPUS.values(), *SMALL_GPUS]} is given {rows - chosen}"


@pytest.mark.parametrize("launch", [pytest.param(x, marks=marks_of(x)) for x in LAUNCHES], ids=str)
def test_kernel(report: Report, launch: Launch):
    assert_each(PROPERTIES, report, launch)


def no_spill_in_a_loop(report: Report, launch: Launch) -> None:
    inside = [x.opcode for loop in report.loops() for x in loop if x.base in SPILLS]
    assert not inside, (
        f"{len(inside)} spills in a loop, {report.registers} registers, {report.stack} bytes of stack"
    )


def stack_is_small(report: Report, launch: Launch) -> None:
    """Outside the loops, once per program: at most what one step of the product's loop reads."""
    allowed = FEW_REGISTERS
    if launch.variant.name in PRODUCTS:
        tile = tile_of(launch)
        step = (tile.m + tile.n) * tile.k * ITEMSIZES[launch.kind]
        allowed = max(allowed, step // launch.variant.threads)
    assert report.stack <= allowed


def there_are_registers_for_a_block(report: Report, launch: Launch) -> None:
    assert report.registers * launch.variant.threads <= REGISTERS


def shared_memory_exists(report: Report, launch: Launch) -> None:
    assert report.shared <= launch.gpu.shared_bytes


def shared_memory_is_at_most_the_estimate(report: Report, launch: Launch) -> None:
    if launch.variant.name in PRODUCTS:
        assert report.shared <= tile_of(launch).shared_bytes(ITEMSIZES[launch.kind])


def matrix_instructions(report: Report, launch: Launch) -> None:
    if launch.variant.name in PRODUCTS:
        expected = set() if launch.kind == "ieee" else {MATRIX[launch.variant.arch]}
        assert report.matrix_instructions() == expected
        assert report.product_loops(), "no loop multiplies: it was not recognized, or unrolled away"


def no_warning_of_ptxas(report: Report, launch: Launch) -> None:
    """C7510 to C7515 above all: wgmma instructions that wait for each other."""
    assert report.warnings == []


def operands_are_read_16_bytes_at_a_time(report: Report, launch: Launch) -> None:
    """Where rows are a multiple of 16 bytes."""
    if launch.variant.name not in PRODUCTS or not is_even(launch):
        return
    tile = tile_of(launch)
    # A thread's part of an operand, where the tile has less than 16 bytes for each.
    parts = {side * tile.k * ITEMSIZES[launch.kind] // launch.variant.threads for side in (tile.m, tile.n)}
    allowed = {min(max(part, 4), 16) for part in parts} | {16}
    if launch.kind == "tf32" and launch.variant.arch >= 90:
        # wgmma and tcgen05 take 32-bit operands along k only. Others are turned on their way to shared memory.
        allowed.add(4)
    widths = {x.bytes for loop in report.product_loops() for x in loop if x.base in GLOBAL_LOADS}
    assert widths and widths <= allowed


def matrices_move_16_bytes_at_a_time(report: Report, launch: Launch) -> None:
    """Where there are any, with rows that are a multiple of 16 bytes."""
    if not matrices(launch) or not is_even(launch):
        return
    loads = [x.bytes for x in report.instructions if x.base in GLOBAL_LOADS]
    stores = [x.bytes for x in report.instructions if x.base == "STG"]
    assert 16 in stores
    elsewhere = launch.variant.name in PRODUCTS or reads_triangles(launch)
    assert 16 in loads or elsewhere, "of products see above; a packed triangle's rows begin anywhere"
    narrow = [width for width in stores if width < 16]
    assert len(narrow) <= VECTOR_STORES, "more than the numbers per feature, per row and per program"


PROPERTIES = (
    no_spill_in_a_loop,
    stack_is_small,
    there_are_registers_for_a_block,
    shared_memory_exists,
    shared_memory_is_at_most_the_estimate,
    matrix_instructions,
    no_warning_of_ptxas,
    operands_are_read_16_bytes_at_a_time,
    matrices_move_16_bytes_at_a_time,
)
