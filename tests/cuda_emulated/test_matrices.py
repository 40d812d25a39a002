"""Matrix instructions of the emulated GPU against plain products."""

import pytest
import torch

from tests.cuda_emulated.emulated_gpu import CROSSED, EARLY, LATE, RANDOM

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def as_tf32(x: torch.Tensor) -> torch.Tensor:
    """Of float32 the tensor cores read the upper 19 bits."""
    return (x.view(torch.int32) & -0x2000).view(torch.float32)


def operand(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randn(shape).to(dtype)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (as_tf32(x) if x.dtype == torch.float32 else x for x in (a, b))
    return a.double() @ b.double()


def close(value: torch.Tensor, expected: torch.Tensor) -> bool:
    """Up to what adding in float32 costs; one operand or factor out of place costs more."""
    return torch.allclose(value.double(), expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@pytest.mark.parametrize("transposed", [False, True])
def test_loads_of_matrices(any_order, transposed):
    matrices = torch.randint(-(2**15), 2**15, (4, 8, 8), dtype=torch.int16)
    out = torch.empty_like(matrices)
    assert any_order.matrices(matrices, out, transposed, 0) == 0
    assert torch.equal(out, matrices.mT if transposed else matrices)


def test_loads_of_matrices_are_aligned(gpu):
    matrices = torch.zeros(4, 8, 8, dtype=torch.int16)
    message = gpu.message_of(gpu.matrices(matrices, matrices.clone(), False, 1))
    assert "load_matrix at offset 2 of shared memory, which is no multiple of 16" in message


def test_transposed_stores_of_matrices(any_order):
    matrices = torch.randint(-(2**15), 2**15, (4, 8, 8), dtype=torch.int16)
    out = torch.empty_like(matrices)
    assert any_order.store(matrices, out) == 0
    assert torch.equal(out, matrices.mT)


def test_transposition_of_a_matrix(any_order):
    matrix = torch.randint(-(2**15), 2**15, (8, 8), dtype=torch.int16)
    out = torch.empty_like(matrix)
    assert any_order.transpose(matrix, out) == 0
    assert torch.equal(out, matrix.T)


@pytest.mark.parametrize(("name", "dtype"), TYPES.items())
def test_products_of_a_warp(any_order, name, dtype):
    depth = 8 if dtype == torch.float32 else 16
    a, b, d = operand(dtype, 16, depth), operand(dtype, depth, 8), torch.randn(16, 8)
    expected = d.double() + product(a, b)
    assert getattr(any_order, f"multiply_{name}")(a, b, d) == 0
    assert close(d, expected)


# Operands as the kernels get them: row-major with k contiguous, or its transpose.
def product_is_right(gpu, name: str, n: int, *arguments) -> bool:
    dtype = TYPES[name]
    depth = 256 // dtype.itemsize
    a, b, d = operand(dtype, 64, depth), operand(dtype, n, depth), torch.randn(64, n)
    expected = d.double() + product(a, b.T)
    a_mn, b_mn = {"bfloat16": arguments[-3:-1], "float16": arguments[-2:], "float32": (False, False)}[name]
    stored = (x.T.contiguous() if transposed else x for x, transposed in ((a, a_mn), (b, b_mn)))
    return getattr(gpu, f"product_{name}")(*stored, d, *arguments) == 0 and close(d, expected)


@pytest.mark.parametrize("n", [128, 256])
@pytest.mark.parametrize("a_mn", [False, True])
@pytest.mark.parametrize("b_mn", [False, True])
def test_products_of_a_warpgroup(any_order, n, a_mn, b_mn):
    assert product_is_right(any_order, "bfloat16", n, n, a_mn, b_mn, NO_MISTAKE)


@pytest.mark.parametrize("a_mn", [False, True])
@pytest.mark.parametrize("b_mn", [False, True])
def test_products_of_a_warpgroup_in_float16(gpu, a_mn, b_mn):
    assert product_is_right(gpu, "float16", 128, a_mn, b_mn)


@pytest.mark.parametrize("n", [128, 256])
def test_products_of_a_warpgroup_in_tf32(gpu, n):
    assert product_is_right(gpu, "float32", n, n)


def register_product_is_right(gpu, n: int, mistake: int) -> bool:
    a, b, d = operand(torch.float32, 64, 64), operand(torch.float32, n, 64), torch.randn(64, n)
    expected = d.double() + product(a, b.T)
    return gpu.product_of_registers(a, b, d, n, mistake) == 0 and close(d, expected)


@pytest.mark.parametrize("n", [128, 256])
def test_products_of_a_warpgroup_with_an_operand_in_registers(any_order, n):
    assert register_product_is_right(any_order, n, NO_MISTAKE)


def test_registers_that_are_overwritten_too_early(gpu):
    for mode in (LATE, CROSSED):
        gpu.bt_emulated_asynchrony(mode)
        assert not register_product_is_right(gpu, 128, EARLY_OVERWRITE)


NO_MISTAKE, NO_WAIT, EARLY_OVERWRITE, NO_COMMIT, NO_FENCE, DIFFERENT, NO_ASYNC_FENCE = range(7)


@pytest.mark.parametrize("mistake", [NO_WAIT, EARLY_OVERWRITE])
def test_mistakes_with_products_give_wrong_numbers(gpu, mistake):
    right = {}
    for mode in (EARLY, LATE, CROSSED, RANDOM, 4, 5, 6, 7):
        gpu.bt_emulated_asynchrony(mode)
        right[mode] = product_is_right(gpu, "bfloat16", 128, 128, False, True, mistake)
    assert right[EARLY] and not right[LATE] and not right[CROSSED]
    assert sum(right[mode] for mode in (RANDOM, 4, 5, 6, 7)) < 5


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (NO_COMMIT, "returns before its wgmma are done"),
        (NO_FENCE, "wgmma without a wgmma_fence"),
        (DIFFERENT, "the threads of a warpgroup issue different wgmma"),
        (NO_ASYNC_FENCE, "what was stored there without fence_async_shared"),
    ],
)
def test_mistakes_with_products_are_named(gpu, mistake, message):
    gpu.bt_emulated_asynchrony(LATE)
    a, b, d = operand(torch.bfloat16, 64, 128), operand(torch.bfloat16, 128, 128), torch.zeros(64, 128)
    assert message in gpu.message_of(gpu.product_bfloat16(a, b, d, 128, False, False, mistake))


def test_registers_of_a_block(gpu):
    assert gpu.registers(256) == 0
    assert "67584 registers in a block" in gpu.message_of(gpu.registers(384))


def test_products_of_warpgroups_need_hopper(gpu):
    gpu.bt_emulated_gpu(80, 4, 232448, 1)
    a, b, d = operand(torch.float32, 64, 64), operand(torch.float32, 128, 64), torch.zeros(64, 128)
    assert "on a GPU of capability 80" in gpu.message_of(gpu.product_float32(a, b, d, 128))
