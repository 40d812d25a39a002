"""The registered C++ ops: schema, fake kernels and dispatch by opcheck; they refuse what would crash them."""

import pytest
import torch

from bt_kernels.backends.registry import BACKENDS, available_backends
from bt_kernels.backends.stages import Statistics
from bt_kernels.options import LossOptions
from tests.support.inputs import DTYPES, views

pytestmark = pytest.mark.runs_on("cpu")

OPTIONS = (0.0051, 1.0, 1e-5, False)  # lambd, scale, eps, unbiased
TERM_OPTIONS = OPTIONS[:2]
TF32 = False  # which these ops do not ask
BACKWARD_OPTIONS = {
    "gram": (*TERM_OPTIONS, 1e-5, False, False, TF32),  # eps, unbiased, standardized
    "correlation": (*TERM_OPTIONS, None, False, False, TF32),  # samples, unbiased, standardized
}
OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.fixture
def ops():
    ok, reason, _ = available_backends("cpu")["cpu"]
    if not ok:
        pytest.skip(reason)  # conftest's backend fixture decides whether that may be
    return torch.ops.bt_kernels_cpu


def backward_arguments(ops, name, z_a, z_b, needs, gradients):
    saved = getattr(ops, f"{name}_forward")(z_a, z_b, *OPTIONS, TF32, True)[3:]
    return (*gradients, z_a, z_b, *saved, *BACKWARD_OPTIONS[name], *needs)


def given_statistics(d):  # mean, residual_mean and rstd of both views
    return torch.arange(1.0, 6 * d + 1, dtype=torch.float64).view(3, 2, d)


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 1), (5, 9), (9, 5)], ids=str)
@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_opcheck_forward(ops, name, shape, dtype):
    op = getattr(ops, f"{name}_forward").default
    z_a, z_b = views(*shape, dtype)
    for needs_backward in (True, False):
        torch.library.opcheck(op, (z_a, z_b, *OPTIONS, TF32, needs_backward), test_utils=OPCHECKS)
    torch.library.opcheck(op, (z_a.T.contiguous().T, z_b[:, :], *OPTIONS, TF32, True), test_utils=OPCHECKS)


@pytest.mark.covering(1)
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


@pytest.mark.parametrize("shape, dtype", [((2, 1), torch.float64), ((5, 9), torch.bfloat16)], ids=str)
def test_opcheck_gram_halves(ops, shape, dtype):
    z_a, z_b = views(*shape, dtype)
    for given in (None, given_statistics(shape[1])):
        arguments = (z_a, z_b, given, *OPTIONS[2:], TF32, True)
        torch.library.opcheck(ops.gram_partial.default, arguments, test_utils=OPCHECKS)
    triangles, sums = ops.gram_partial(z_a, z_b, None, *OPTIONS[2:], TF32, True)[:2]
    for needs_backward in (True, False):
        arguments = (triangles, sums, shape[0], dtype, *TERM_OPTIONS, TF32, needs_backward)
        torch.library.opcheck(ops.gram_total.default, arguments, test_utils=OPCHECKS)


@pytest.mark.parametrize("shape, dtype", [((1, 1), torch.float64), ((5, 9), torch.bfloat16)], ids=str)
def test_opcheck_correlation_halves(ops, shape, dtype):
    """Of 30 samples, for all of which the backward gets C."""
    z_a, z_b = views(*shape, dtype)
    statistics = given_statistics(shape[1])
    for needs_backward in (True, False):
        arguments = (z_a, z_b, statistics, 30, TF32, needs_backward)
        torch.library.opcheck(ops.correlation_partial.default, arguments, test_utils=OPCHECKS)
    c, *of_rows = ops.correlation_partial(z_a, z_b, statistics, 30, TF32, True)
    arguments = (30, dtype, *TERM_OPTIONS, TF32, True)
    torch.library.opcheck(ops.correlation_total.default, (c.clone(), *arguments), test_utils=OPCHECKS)
    *terms, c_diagonal, _, row_squares, column_squares = ops.correlation_total(c, *arguments)
    assert (c.diagonal() == 0).all()
    for of_batch in ((True, False), (False, True)):  # unbiased, standardized
        residuals = *of_rows, c_diagonal, c, row_squares, column_squares
        arguments = (*terms, z_a, z_b, *residuals, *TERM_OPTIONS, 30, *of_batch, TF32, True, False)
        torch.library.opcheck(ops.correlation_backward.default, arguments, test_utils=OPCHECKS)


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_nothing_is_kept_for_a_backward_that_is_not_needed(ops, name):
    z_a, z_b = views(5, 9)
    kept = getattr(ops, f"{name}_forward")(z_a, z_b, *OPTIONS, TF32, False)[3:]
    assert sum(tensor.numel() for tensor in kept) == 6 * 9 + 9  # the statistics and C_ii


def test_halves_keep_nothing_for_a_backward_that_is_not_needed(ops):
    cpu = BACKENDS["cpu"]
    z_a, z_b = views(5, 9)
    statistics = Statistics(*torch.ones(3, 2, 9, dtype=torch.float64))
    for given in (None, statistics):
        partial = cpu.gram_partial(z_a, z_b, LossOptions(), given, False)
        assert partial.residuals == ()
        assert cpu.gram_total(partial.triangles, partial.sums, 5, z_a.dtype, LossOptions(), False)[1] == ()
        total = ops.gram_total(partial.triangles, partial.sums, 5, z_a.dtype, *TERM_OPTIONS, TF32, False)
        assert all(tensor.numel() == 0 for tensor in total[3:])
    partial = cpu.correlation_partial(z_a, z_b, statistics, 7, False)
    assert partial.residuals == ()
    assert cpu.correlation_total(partial.c, 7, z_a.dtype, LossOptions(), False)[1] == ()
    assert ops.correlation_partial(z_a, z_b, given_statistics(9), 7, TF32, False)[2].numel() == 0


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_unneeded_gradients_are_none(ops, name):
    z_a, z_b = views(5, 9)
    arguments = backward_arguments(ops, name, z_a, z_b, (False, True), (torch.tensor(1.0), None, None))
    dz_a, dz_b = getattr(ops, f"{name}_backward")(*arguments)
    assert dz_a is None and dz_b.shape == z_b.shape


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_forward_refuses_mismatched_embeddings(ops, name):
    forward = getattr(ops, f"{name}_forward")
    z = torch.zeros(4, 3)
    for other in (torch.zeros(5, 3), torch.zeros(4, 2), torch.zeros(12), z.double(), torch.zeros(4, 3, 1)):
        with pytest.raises(RuntimeError, match="z_a and z_b must have"):
            forward(z, other, *OPTIONS, TF32, True)
    for bad in (z[:1], z[:, :0]):
        with pytest.raises(RuntimeError, match="N >= 2 samples and D >= 1"):
            forward(bad, bad, *OPTIONS, TF32, True)
    with pytest.raises(RuntimeError, match="float64, float32, bfloat16 or float16"):
        forward(z.int(), z.int(), *OPTIONS, TF32, True)


@pytest.mark.parametrize("name", ["gram", "correlation"])
def test_backward_refuses_what_the_forward_did_not_return(ops, name):
    backward = getattr(ops, f"{name}_backward")
    z_a, z_b = views(9, 5)
    arguments = backward_arguments(ops, name, z_a, z_b, (True, True), (torch.tensor(1.0), None, None))
    saved = [i for i, x in enumerate(arguments) if i > 4 and isinstance(x, torch.Tensor) and x.numel() > 0]
    assert len(saved) == 4  # what these ops do not keep, they do not read
    for index in saved:  # each without its last number
        broken = list(arguments)
        broken[index] = broken[index].flatten()[:-1]
        with pytest.raises(RuntimeError, match="not what the forward returned"):
            backward(*broken)
    with pytest.raises(RuntimeError, match="gradient of a scalar must be a scalar"):
        backward(torch.ones(2), *arguments[1:])


def test_partials_refuse_statistics_that_are_not_of_the_embeddings(ops):
    z_a, z_b = views(5, 9)
    good = given_statistics(9)
    message = r"given_statistics must be contiguous float64 numbers of shape \(3, 2, 9\)"
    for bad in (good[..., :8], good[:2], good.flatten(), good.float(), good.mT.contiguous().mT):
        with pytest.raises(RuntimeError, match=message):
            ops.gram_partial(z_a, z_b, bad, *OPTIONS[2:], TF32, True)
        with pytest.raises(RuntimeError, match=message):
            ops.correlation_partial(z_a, z_b, bad, 5, TF32, True)


def test_gram_total_refuses_what_are_not_sums_of_partials(ops):
    triangles, sums = ops.gram_partial(*views(5, 9), None, *OPTIONS[2:], TF32, True)[:2]
    options = torch.float32, *TERM_OPTIONS, TF32, True
    for n in (4, 6):
        with pytest.raises(RuntimeError, match=f"triangles .* expected {n * (n + 1)} contiguous numbers"):
            ops.gram_total(triangles, sums, n, *options)
    with pytest.raises(RuntimeError, match="triangles .* expected 30 contiguous numbers"):
        ops.gram_total(triangles.T.contiguous().T, sums, 5, *options)
    for bad in (triangles.half(), triangles.double()):
        with pytest.raises(RuntimeError, match="triangles must be float32, in which such"):
            ops.gram_total(bad, sums, 5, *options)
    with pytest.raises(RuntimeError, match="triangles must be float64"):
        ops.gram_total(triangles, sums, 5, torch.float64, *options[1:])
    for bad in (sums[:3], sums.float()):
        with pytest.raises(RuntimeError, match="sums .* expected 4 contiguous numbers of float64"):
            ops.gram_total(triangles, bad, 5, *options)
    with pytest.raises(RuntimeError, match="N >= 2 samples"):
        ops.gram_total(triangles[:, :1].contiguous(), sums, 1, *options)


def test_correlation_halves_refuse_other_shares_and_matrices(ops):
    z_a, z_b = views(5, 9)
    statistics = given_statistics(9)
    with pytest.raises(RuntimeError, match="a share has 1 to 4 rows, not 5"):
        ops.correlation_partial(z_a, z_b, statistics, 4, TF32, True)
    with pytest.raises(RuntimeError, match="a share has 1 to 5 rows, not 0"):
        ops.correlation_partial(z_a[:0], z_b[:0], statistics, 5, TF32, True)
    with pytest.raises(RuntimeError, match="N >= 2 samples"):
        ops.correlation_partial(z_a[:1], z_b[:1], statistics, 1, TF32, True)
    c, options = torch.eye(4), (5, torch.float32, *TERM_OPTIONS, TF32, True)
    for bad in (c[:3], c.flatten(), c.T[::2, ::2], c[:0, :0]):
        with pytest.raises(RuntimeError, match=r"c must be contiguous and have shape \(D, D\)"):
            ops.correlation_total(bad, *options)
    for bad in (c.bfloat16(), c.double()):
        with pytest.raises(RuntimeError, match="c must be float32, in which such"):
            ops.correlation_total(bad, *options)
    with pytest.raises(RuntimeError, match="c must be float64"):
        ops.correlation_total(c, 5, torch.float64, *options[2:])


def test_correlation_backward_refuses_y_without_c(ops):
    """They are kept together."""
    arguments = backward_arguments(ops, "correlation", *views(5, 9), (True, True), (torch.tensor(1.0), None, None))
    for y in (torch.zeros(2, 5, 9), torch.zeros(()), torch.zeros(0, dtype=torch.int32)):
        with pytest.raises(RuntimeError, match="y is not what the forward returned"):
            ops.correlation_backward(*arguments[:6], y, *arguments[7:])


def test_backward_refuses_batches_that_the_rows_are_not_of(ops):
    z_a, z_b = views(5, 9)  # N < D: C is not kept
    gradients = torch.tensor(1.0), None, None
    arguments = backward_arguments(ops, "correlation", z_a, z_b, (True, True), gradients)
    with pytest.raises(RuntimeError, match="cannot be computed again from 5 of 6 samples"):
        ops.correlation_backward(*arguments[:-6], 6, *arguments[-5:])
