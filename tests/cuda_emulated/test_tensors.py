"""TMA and mbarriers of the emulated GPU."""

import pytest
import torch

from tests.cuda_emulated.emulated_gpu import CROSSED, EARLY, LATE, RANDOM


def box_of(matrix: torch.Tensor, view: int, row: int, column: int, rows: int, shift: int = 0) -> torch.Tensor:
    """(rows, pieces) as they lie in shared memory: zeros outside of the matrix, 16-byte pieces by the swizzle."""
    columns = 128 // matrix.itemsize
    box = torch.zeros(rows, columns, dtype=matrix.dtype)
    views, height, width = (range(size) for size in matrix.shape)
    for r in range(rows):
        for c in range(columns):
            if view in views and row + r in height and column + c in width:
                box[r, c] = matrix[view, row + r, column + c]
    pieces = box.view(rows, 8, columns // 8)
    return torch.stack([piece[torch.arange(8) ^ ((r + shift // 128) % 8)] for r, piece in enumerate(pieces)])


def load_box(gpu, matrix, view, row, column, rows, shift=0, cluster=1, sender=-1) -> torch.Tensor:
    out = torch.full((cluster, rows, 8, 16 // matrix.itemsize), -1).to(matrix.dtype)
    described = (matrix, matrix.itemsize, *matrix.shape, matrix.stride(1), matrix.stride(0))
    assert gpu.box(*described, rows, column, row, view, shift, cluster, sender, out) == 0, gpu.failure()
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("corner", [(0, 0, 0), (1, 3, 8), (1, -3, -5), (0, 30, 60), (2, 0, 0), (0, 99, 0)])
def test_boxes(gpu, dtype, corner):
    padded = torch.arange(2 * 40 * 96).reshape(2, 40, 96).to(torch.float32).to(dtype)
    matrix = padded[:, :, :72]  # rows that the stride leaves room behind
    assert torch.equal(load_box(gpu, matrix, *corner, 24)[0], box_of(matrix, *corner, 24))


def test_boxes_that_do_not_start_where_the_swizzle_does(gpu):
    matrix = torch.rand(1, 16, 32)
    assert torch.equal(load_box(gpu, matrix, 0, 0, 0, 8, shift=384)[0], box_of(matrix, 0, 0, 0, 8, shift=384))


@pytest.mark.parametrize("sender", [0, 3])
def test_boxes_for_all_blocks_of_a_cluster(any_order, sender):
    matrix = torch.rand(1, 64, 32)
    out = load_box(any_order, matrix, 0, 5, 0, 64, cluster=4, sender=sender)
    assert torch.equal(out, box_of(matrix, 0, 5, 0, 64).expand(4, -1, -1, -1))


def test_maps_are_checked(gpu):
    matrix = torch.zeros(4096)
    good = {"base": matrix, "itemsize": 4, "views": 2, "rows": 8, "columns": 32}
    good |= {"row_stride": 32, "view_stride": 256, "box_rows": 8, "box_columns": 32}

    def valid(**changes) -> bool:
        return gpu.valid_map(*(good | changes).values()) == 0

    assert valid() and valid(box_rows=256) and valid(columns=31)
    assert not valid(base=matrix[1:])
    assert not valid(row_stride=33) and not valid(view_stride=257)
    assert not valid(box_rows=257) and not valid(box_rows=0) and not valid(box_columns=16)
    assert not valid(rows=0) and not valid(views=0)


NO_MISTAKE, NO_WAIT_FULL, NO_WAIT_EMPTY, NO_FENCE, NO_EXPECT, UNINITIALIZED = range(6)


def ring(gpu, mistake: int) -> tuple[int, bool]:
    numbers, out = torch.rand(7, 8, 32), torch.full((32,), torch.nan)
    error = gpu.ring(numbers, out, 7, mistake)
    return error, torch.allclose(out, numbers.sum((0, 1)))


def test_a_ring_of_boxes(any_order):
    assert ring(any_order, NO_MISTAKE) == (0, True)


def test_a_ring_that_does_not_wait_for_its_boxes(gpu):
    for mode in (LATE, RANDOM, 4, 5, 6):
        gpu.bt_emulated_asynchrony(mode)
        assert ring(gpu, NO_WAIT_FULL) != (0, True)


def test_a_ring_that_overwrites_its_boxes(gpu):
    for mode in (EARLY, CROSSED):
        gpu.bt_emulated_asynchrony(mode)
        assert ring(gpu, NO_WAIT_EMPTY) != (0, True)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (NO_FENCE, "load_tensor: the barrier at shared + 0 was initialized without barrier_init_fence"),
        (NO_EXPECT, "wait in barrier_wait(shared + "),
        (UNINITIALIZED, "no barrier was initialized at shared + "),
    ],
)
def test_mistakes_with_barriers_are_named(gpu, mistake, message):
    assert ring(gpu, mistake)[0] != 0 and message in gpu.failure()
