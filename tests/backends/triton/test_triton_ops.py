"""The Triton ops as torch sees them: schema, shapes without data and dispatch by opcheck; nothing kept in vain."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from bt_kernels import barlow_twins_loss
from tests.support.inputs import views
from tests.support.target import device, few

OPS = torch.ops.bt_kernels_triton
OPTIONS = (0.0051, 1.0, 1e-5, False)  # lambd, scale, eps, unbiased
TF32 = False
OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
SHAPES = few([(2, 1), (5, 9), (9, 5), (70, 130), (130, 70)], [(5, 9), (9, 5)])

pytestmark = [
    pytest.mark.runs_on("interpreter", "cuda"),
    pytest.mark.backends("triton"),
    pytest.mark.parametrize("name", ["gram", "correlation"]),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
all_dtypes = pytest.mark.parametrize(
    "dtype", few([torch.float32, torch.bfloat16, torch.float16], [torch.bfloat16]), ids=str
)
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def backward_arguments(name, z_a, z_b, needs, gradients):
    saved = getattr(OPS, f"{name}_forward")(z_a, z_b, *OPTIONS, TF32, True)[3:]
    options = (*OPTIONS[:2], OPTIONS[2] if name == "gram" else None)  # eps, or samples
    return (*gradients, z_a, z_b, *saved, *options, False, False, TF32, *needs)


def statistics(d):
    """mean, residual_mean and rstd of both views, (3, 2, D) float64."""
    numbers = torch.tensor([0.25, 0.0, 0.5], dtype=torch.float64, device=device())
    return numbers[:, None, None].repeat(1, 2, d)


def partial_arguments(name, z_a, z_b, needs_backward):
    n, d = z_a.shape
    options = OPTIONS[2:] if name == "gram" else (4 * n,)
    return (z_a, z_b, statistics(d), *options, TF32, needs_backward)


def total_arguments(name, z_a, z_b, needs_backward):
    partial = getattr(OPS, f"{name}_partial")(*partial_arguments(name, z_a, z_b, False))
    sums = partial[:2] if name == "gram" else partial[:1]
    return (*sums, z_a.shape[0], z_a.dtype, *OPTIONS[:2], TF32, needs_backward)


@all_dtypes
@all_shapes
def test_opcheck_forward(name, shape, dtype):
    op = getattr(OPS, f"{name}_forward").default
    z_a, z_b = views(*shape, dtype)
    for arguments in ((z_a, z_b, *OPTIONS, TF32, False), (z_a.T.contiguous().T, z_b, *OPTIONS, TF32, True)):
        torch.library.opcheck(op, arguments, test_utils=OPCHECKS)


@all_dtypes
@all_shapes
def test_opcheck_backward(name, shape, dtype):
    op = getattr(OPS, f"{name}_backward").default
    z_a, z_b = views(*shape, dtype)
    g = torch.tensor(1.5, device=device())
    for needs, gradients in (((True, True), (g, None, None)), ((False, True), (None, g, g))):
        arguments = backward_arguments(name, z_a, z_b, needs, gradients)
        torch.library.opcheck(op, arguments, test_utils=OPCHECKS)


@all_dtypes
@all_shapes
@pytest.mark.parametrize("half, arguments", [("partial", partial_arguments), ("total", total_arguments)])
def test_opcheck_halves(name, half, arguments, shape, dtype):
    op = getattr(OPS, f"{name}_{half}").default
    for needs_backward in (True, False):
        with_shape = arguments(name, *views(*shape, dtype), needs_backward)
        torch.library.opcheck(op, with_shape, test_utils=OPCHECKS)


@all_shapes
def test_opcheck_of_own_statistics(name, shape):
    """Of the first half in the Gram form, where all rows are at hand."""
    if name == "gram":
        arguments = (*views(*shape), None, *OPTIONS[2:], TF32, True)
        torch.library.opcheck(OPS.gram_partial.default, arguments, test_utils=OPCHECKS)


def test_refuses_float64_by_name(name):
    z_a, z_b = views(4, 3, torch.float64)
    with pytest.raises(RuntimeError, match="'triton' cannot run on .*: it takes float32, .* not torch.float64"):
        barlow_twins_loss(z_a, z_b, backend="triton", formulation=name)
    assert barlow_twins_loss(z_a, z_b, formulation=name).dtype == torch.float64


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)], ids=str)
def test_nothing_is_kept_for_a_backward_that_is_not_needed(name, shape):
    z_a, z_b = views(*shape)
    of_features = 2 * 9 + 9  # rstd and C_ii
    for half, arguments in (
        ("forward", (z_a, z_b, *OPTIONS, TF32, False)),
        ("total", total_arguments(name, z_a, z_b, False)),
    ):
        kept = getattr(OPS, f"{name}_{half}")(*arguments)[3:]  # beyond the terms
        assert sum(tensor.numel() for tensor in kept) <= of_features + 2  # the shifts
    *_, y = getattr(OPS, f"{name}_partial")(*partial_arguments(name, z_a, z_b, False))
    assert y.numel() == 0


def test_nothing_d_by_d_is_kept_for_n_below_d(name):
    n, d = 5, 9
    kept = getattr(OPS, f"{name}_forward")(*views(n, d), *OPTIONS, TF32, True)[3:]
    assert all(d not in tensor.shape[:-1] for tensor in kept)


def test_unneeded_gradients_are_none(name):
    z_a, z_b = views(5, 9)
    g = torch.tensor(1.0, device=device())
    dz_a, dz_b = getattr(OPS, f"{name}_backward")(
        *backward_arguments(name, z_a, z_b, (False, True), (g, None, None))
    )
    assert dz_a is None and dz_b.shape == z_b.shape
