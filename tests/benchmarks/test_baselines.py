"""The benchmark's formulas, floor and truths give the same numbers as bt_kernels.reference."""

import pytest
import torch

from benchmarks.shared.baselines import EPS, LAMBD, MONAI_EPS
from benchmarks.shared.candidates import CANDIDATES, FLOOR, GPU_BACKENDS, OURS, applies, build_forward, build_step
from benchmarks.shared.cell import DTYPES, Cell, make_embeddings
from benchmarks.shared.correctness import (
    AUTHORS,
    MONAI,
    Errors,
    blockwise_truth,
    check_truth,
    errors,
    textbook_truth,
)
from benchmarks.shared.floor import gemm_floor

EAGER = [OURS, *(name for name, c in CANDIDATES.items() if name != FLOOR and not c.ours and not c.compiled)]


@pytest.mark.parametrize(
    "name, dtype",
    [(name, dtype) for name in EAGER for dtype in DTYPES if applies(name, Cell(2, 2, dtype, "cuda"))],
)
@pytest.mark.parametrize("n, d", [(24, 40), (40, 24), (32, 33)])
def test_every_formula_passes_its_gate(name, n, d, dtype):
    cell = Cell(n, d, dtype)
    z_a, z_b = make_embeddings(cell)
    loss = build_step(name, cell, z_a, z_b)()
    expected = textbook_truth(z_a, z_b, CANDIDATES[name].definition)
    found = errors(loss, (z_a.grad, z_b.grad), expected, cell.loss_scale)
    assert found.within(cell.operands), found


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_the_gate_refuses_a_wrong_gradient(wrong):
    cell = Cell(24, 40)
    z_a, z_b = make_embeddings(cell)
    loss = build_step(OURS, cell, z_a, z_b)()
    expected = textbook_truth(z_a, z_b)
    assert not errors(loss, (z_a.grad, z_b.grad * wrong), expected, 1.0).within("float32")
    assert not errors(loss * wrong, (z_a.grad, z_b.grad), expected, 1.0).within("float32")
    assert not Errors(float("nan"), 0.0).within("float32")


def test_monai_is_held_to_its_own_definition_and_fails_the_authors():
    cell = Cell(24, 40)
    z_a, z_b = make_embeddings(cell)
    loss = build_step("monai", cell, z_a, z_b)()
    found = [errors(loss, (z_a.grad, z_b.grad), textbook_truth(z_a, z_b, how), 1.0) for how in (MONAI, AUTHORS)]
    assert found[0].within("float32") and not found[1].within("bfloat16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["solo_learn", "monai"])
def test_behind_c_theirs_is_float32(name, dtype):
    """They subtract a float32 identity from it, of which autocast knows nothing."""
    cell = Cell(24, 40, dtype)
    z_a, z_b = (z.detach() for z in make_embeddings(cell))
    if name == "solo_learn":
        y_a, y_b = (torch.nn.BatchNorm1d(40, affine=False, eps=EPS)(z) for z in (z_a, z_b))
        c = torch.einsum("ni,nj->ij", y_a, y_b) / 24
    else:
        y_a, y_b = ((z - z.mean(0)) / (z.std(0) + MONAI_EPS) for z in (z_a, z_b))
        c = y_a.T @ y_b / 24
    squared = (c - torch.eye(40)) ** 2
    expected = squared.trace() + LAMBD * (squared.sum() - squared.trace())
    torch.testing.assert_close(build_forward(name, cell, z_a, z_b)(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("definition", [AUTHORS, MONAI])
def test_the_truths_gradient_is_that_of_its_loss(definition):
    """Of the blockwise one, written out by hand: against finite differences."""
    z_a, z_b = make_embeddings(Cell(6, 9, "float64"))
    found = blockwise_truth(z_a, z_b, definition)
    step = 1e-6 * torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    up, down = (blockwise_truth(z_a + sign * step, z_b, definition).loss for sign in (1, -1))
    torch.testing.assert_close((found.gradients[0] * step).sum().item(), (up - down) / 2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [name for name, c in CANDIDATES.items() if not c.compiled and not c.graph])
def test_the_forward_alone_is_the_loss_of_both_passes(name):
    cell = Cell(24, 40)
    if not applies(name, cell) or CANDIDATES[name].contender in GPU_BACKENDS:
        pytest.skip("not on a CPU")
    z_a, z_b = make_embeddings(cell)
    forward, both = build_forward(name, cell, z_a, z_b)(), build_step(name, cell, z_a, z_b)()
    assert forward is both is None if name == FLOOR else torch.equal(forward, both) and not forward.requires_grad


def test_the_two_truths_agree_over_several_blocks(monkeypatch):
    monkeypatch.setattr("benchmarks.shared.correctness.BLOCK", 7)
    check_truth(torch.device("cpu"))
    z_a, z_b = make_embeddings(Cell(12, 30, "float64"))
    torch.testing.assert_close(blockwise_truth(z_a, z_b).gradients, textbook_truth(z_a, z_b).gradients)


@pytest.mark.parametrize(
    "n, d, formulation, products", [(8, 32, "auto", 4), (32, 8, "auto", 3), (8, 32, "correlation", 3)]
)
def test_the_floor_runs_the_products_of_the_formulation(n, d, formulation, products, monkeypatch):
    shapes = []
    multiply = torch.mm

    def spy(a, b, out):
        shapes.append((*a.shape, b.shape[1]))
        return multiply(a, b, out=out)

    step = gemm_floor(torch.randn(n, d), torch.randn(n, d), formulation)
    monkeypatch.setattr(torch, "mm", spy)
    step()
    assert len(shapes) == products
    flops = sum(2 * m * k * p for m, k, p in shapes)
    assert flops == (8 * n * n * d if products == 4 else 6 * n * d * d)


def test_the_embeddings_repeat_and_need_gradients():
    first, second = make_embeddings(Cell(6, 5)), make_embeddings(Cell(6, 5))
    assert all(torch.equal(a, b) and a.requires_grad and a.is_leaf for a, b in zip(first, second, strict=True))
