"""The registered C++ ops: schema, fake kernels and dispatch by opcheck; they refuse what would crash them."""

import pytest
import torch
from inputs import DTYPES, views

from bt_kernels.backends.registry import availabilities

OPTIONS = (0.0051, 1.0, 1e-5, False)  # lambd, scale, eps, unbiased
OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.fixture
def ops():
    ok, reason = availabilities(torch.device("cpu"))["cpu"]
    if not ok:
        pytest.skip(reason)  # conftest's backend fixture decides whether that may be
    return torch.ops.bt_kernels


def backward_arguments(ops, name, z_a, z_b, needs, gradients):
    saved = getattr(ops, f"{name}_forward")(z_a, z_b, *OPTIONS, True)[3:]
    return (*gradients, z_a, z_b, *saved, *OPTIONS, *needs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 1), (5, 9), (9, 5)], ids=str)
@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_opcheck_forward(ops, name, shape, dtype):
    op = getattr(ops, f"{name}_forward").default
    z_a, z_b = views(*shape, dtype)
    for needs_backward in (True, False):
        torch.library.opcheck(op, (z_a, z_b, *OPTIONS, needs_backward), test_utils=OPCHECKS)
    torch.library.opcheck(op, (z_a.T.contiguous().T, z_b[:, :], *OPTIONS, True), test_utils=OPCHECKS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 1), (5, 9), (9, 5)], ids=str)
@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_opcheck_backward(ops, name, shape, dtype):
    op = getattr(ops, f"{name}_backward").default
    z_a, z_b = views(*shape, dtype)
    g = torch.tensor(1.5, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for needs in ((True, True), (True, False), (False, True)):
        for gradients in ((g, None, None), (None, g, g)):
            arguments = backward_arguments(ops, name, z_a, z_b, needs, gradients)
            torch.library.opcheck(op, arguments, test_utils=OPCHECKS)


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_nothing_is_kept_for_a_backward_that_is_not_needed(ops, name):
    z_a, z_b = views(5, 9)
    kept = getattr(ops, f"{name}_forward")(z_a, z_b, *OPTIONS, False)[-2:]  # K_a, K_b | y_a, y_b
    assert all(tensor.numel() == 0 for tensor in kept)


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_unneeded_gradients_are_empty(ops, name):
    z_a, z_b = views(5, 9)
    arguments = backward_arguments(ops, name, z_a, z_b, (False, True), (torch.tensor(1.0), None, None))
    dz_a, dz_b = getattr(ops, f"{name}_backward")(*arguments)
    assert dz_a.numel() == 0 and dz_b.shape == z_b.shape


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_forward_refuses_mismatched_embeddings(ops, name):
    forward = getattr(ops, f"{name}_forward")
    z = torch.zeros(4, 3)
    for other in (torch.zeros(5, 3), torch.zeros(4, 2), torch.zeros(12), z.double(), torch.zeros(4, 3, 1)):
        with pytest.raises(RuntimeError, match="z_a and z_b must have"):
            forward(z, other, *OPTIONS, True)
    for bad in (z[:1], z[:, :0]):
        with pytest.raises(RuntimeError, match="N >= 2 samples and D >= 1"):
            forward(bad, bad, *OPTIONS, True)
    with pytest.raises(RuntimeError, match="float64, float32, bfloat16 or float16"):
        forward(z.int(), z.int(), *OPTIONS, True)


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_backward_refuses_what_the_forward_did_not_return(ops, name):
    backward = getattr(ops, f"{name}_backward")
    z_a, z_b = views(9, 5)
    arguments = backward_arguments(ops, name, z_a, z_b, (True, True), (torch.tensor(1.0), None, None))
    for index in range(5, len(arguments) - 6):  # the saved tensors, each without its last number
        broken = list(arguments)
        broken[index] = broken[index].flatten()[:-1]
        with pytest.raises(RuntimeError, match="not what the forward returned"):
            backward(*broken)
    with pytest.raises(RuntimeError, match="gradient of a scalar must be a scalar"):
        backward(torch.ones(2), *arguments[1:])
