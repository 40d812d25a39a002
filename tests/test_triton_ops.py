"""The Triton ops as torch sees them: schema, shapes without data and dispatch by opcheck; nothing kept in vain."""

import pytest
import torch
from inputs import views
from target import device, few

import bt_kernels.backends.triton.ops  # noqa: F401  registers them
from bt_kernels import barlow_twins_loss

OPS = torch.ops.bt_kernels_triton
OPTIONS = (0.0051, 1.0, 1e-5, False)  # lambd, scale, eps, unbiased
OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
SHAPES = few([(2, 1), (5, 9), (9, 5), (70, 130), (130, 70)], [(5, 9), (9, 5)])

pytestmark = [
    pytest.mark.parametrize("name", ["gram", "correlation"]),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
all_dtypes = pytest.mark.parametrize(
    "dtype", few([torch.float32, torch.bfloat16, torch.float16], [torch.bfloat16]), ids=str
)
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def backward_arguments(name, z_a, z_b, needs, gradients):
    saved = getattr(OPS, f"{name}_forward")(z_a, z_b, *OPTIONS, True)[3:]
    options = OPTIONS if name == "gram" else (*OPTIONS[:2], OPTIONS[3])
    return (*gradients, z_a, *saved, *options, *needs)


@all_dtypes
@all_shapes
def test_opcheck_forward(name, shape, dtype):
    op = getattr(OPS, f"{name}_forward").default
    z_a, z_b = views(*shape, dtype)
    for arguments in ((z_a, z_b, *OPTIONS, False), (z_a.T.contiguous().T, z_b, *OPTIONS, True)):
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


def test_refuses_float64_by_name(name):
    z_a, z_b = views(4, 3, torch.float64)
    with pytest.raises(RuntimeError, match="'triton' cannot run on .*: it takes float32, .* not torch.float64"):
        barlow_twins_loss(z_a, z_b, backend="triton", formulation=name)
    assert barlow_twins_loss(z_a, z_b, formulation=name).dtype == torch.float64


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)], ids=str)
def test_nothing_is_kept_for_a_backward_that_is_not_needed(name, shape):
    z_a, z_b = views(*shape)
    kept = getattr(OPS, f"{name}_forward")(z_a, z_b, *OPTIONS, False)[5:]  # beyond the terms, C_ii and rstd
    assert all(tensor.numel() <= 2 for tensor in kept)  # the shifts


def test_nothing_d_by_d_is_kept_for_n_below_d(name):
    n, d = 5, 9
    kept = getattr(OPS, f"{name}_forward")(*views(n, d), *OPTIONS, True)[5:]
    assert all(d not in tensor.shape[:-1] for tensor in kept)


def test_unneeded_gradients_are_empty(name):
    z_a, z_b = views(5, 9)
    g = torch.tensor(1.0, device=device())
    dz_a, dz_b = getattr(OPS, f"{name}_backward")(
        *backward_arguments(name, z_a, z_b, (False, True), (g, None, None))
    )
    assert dz_a.numel() == 0 and dz_b.shape == z_b.shape
