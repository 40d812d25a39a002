"""The CUDA ops as torch sees them: schema, shapes without data and dispatch by opcheck; they refuse what would
crash them; the tf32 setting is followed, compiled or not."""

import pytest
import torch

from bt_kernels import barlow_twins_loss, barlow_twins_terms
from bt_kernels.backends import cuda
from tests.support.inputs import views
from tests.support.target import device, few

OPS = torch.ops.bt_kernels_cuda
OPTIONS = (0.0051, 1.0, 1e-5, False)  # lambd, scale, eps, unbiased
OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
SHAPES = few([(2, 1), (5, 9), (9, 5), (70, 130), (130, 70)], [(5, 9), (9, 5), (70, 66)])
WHOLE_LINES = [(64, 128), (128, 64)]  # no padding in y, K and C

AVAILABILITY = cuda.availability(device(), torch.float32)

pytestmark = [
    pytest.mark.runs_on("emulated", "cuda"),
    pytest.mark.skipif(not AVAILABILITY.ok, reason=AVAILABILITY.reason),
    pytest.mark.parametrize("name", ["gram", "correlation"]),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
all_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
all_shapes = pytest.mark.parametrize("shape", [*SHAPES, *WHOLE_LINES], ids=str)


@pytest.fixture(autouse=True)
def restore_precision():
    precision = torch.backends.cuda.matmul.fp32_precision
    yield
    torch.backends.cuda.matmul.fp32_precision = precision


def forward(name, z_a, z_b, needs_backward=True, tf32=False):
    return getattr(OPS, f"{name}_forward")(z_a, z_b, *OPTIONS, tf32, needs_backward)


def as_it_is(z):
    """Statistics (3, 2, D) that leave z so."""
    zeros = torch.zeros(2, z.shape[1], dtype=torch.float64, device=z.device)
    return torch.stack([zeros, zeros, zeros + 1])


def partial_arguments(name, z_a, z_b, statistics=None):
    if name == "gram":
        return z_a, z_b, statistics, *OPTIONS[2:], False, True
    return z_a, z_b, as_it_is(z_a) if statistics is None else statistics, z_a.shape[0], False, True


def total_arguments(name, z_a, z_b):
    """As it is after the first half of one share."""
    sums = getattr(OPS, f"{name}_partial")(*partial_arguments(name, z_a, z_b))
    sums = sums[:2] if name == "gram" else sums[:1]
    return *sums, z_a.shape[0], z_a.dtype, *OPTIONS[:2], False, True


def opcheck(op, shape, arguments):
    """The last check compares outputs, and the padding of saved matrices holds whatever was in memory."""
    checks = (*OPCHECKS, "test_aot_dispatch_dynamic") if shape in WHOLE_LINES else OPCHECKS
    torch.library.opcheck(op, arguments, test_utils=checks)


def scalar(value=1.0):
    return torch.tensor(value, device=device())


def backward_arguments(name, z_a, z_b, needs, gradients, tf32=False):
    saved = forward(name, z_a, z_b, tf32=tf32)[3:]
    options = (*OPTIONS[:2], OPTIONS[2] if name == "gram" else None)  # eps, or samples
    return (*gradients, z_a, z_b, *saved, *options, False, False, tf32, *needs)


@all_dtypes
@all_shapes
def test_opcheck_forward(name, shape, dtype):
    op = getattr(OPS, f"{name}_forward").default
    z_a, z_b = views(*shape, dtype)
    for arguments in ((z_a, z_b, *OPTIONS, False, False), (z_a.T.contiguous().T, z_b, *OPTIONS, True, True)):
        opcheck(op, shape, arguments)


@all_dtypes
@pytest.mark.parametrize("shape", [*SHAPES[-2:], *WHOLE_LINES], ids=str)
def test_opcheck_halves(name, shape, dtype):
    partial, total = (getattr(OPS, f"{name}_{half}").default for half in ("partial", "total"))
    z_a, z_b = views(*shape, dtype)
    arguments = total_arguments(name, z_a, z_b)
    for needs_backward in (False, True):
        opcheck(total, shape, (*arguments[:-1], needs_backward))
        for statistics in (None, as_it_is(z_a)):
            opcheck(partial, shape, (*partial_arguments(name, z_a, z_b, statistics)[:-1], needs_backward))


@pytest.mark.all_combinations("every variant of the backward's kernels")
@all_dtypes
@all_shapes
def test_opcheck_backward(name, shape, dtype):
    op = getattr(OPS, f"{name}_backward").default
    z_a, z_b = views(*shape, dtype)
    g = scalar(1.5)
    for needs, gradients in (((True, True), (g, None, None)), ((False, True), (None, g, g))):
        arguments = backward_arguments(name, z_a, z_b, needs, gradients)
        opcheck(op, shape, arguments)


def test_refuses_float64_by_name(name):
    z_a, z_b = views(4, 3, torch.float64)
    with pytest.raises(RuntimeError, match="'cuda' cannot run on .*: it takes float32, .* not torch.float64"):
        barlow_twins_loss(z_a, z_b, backend="cuda", formulation=name)


def test_nothing_is_kept_for_a_backward_that_is_not_needed(name):
    kept = forward(name, *views(9, 5), needs_backward=False)[3:]
    assert sum(tensor.numel() for tensor in kept) <= 3 * 5 + 2  # C_ii, rstd and the shifts


def test_halves_keep_nothing_for_a_backward_that_is_not_needed(name):
    z_a, z_b = views(9, 5)
    partial = getattr(OPS, f"{name}_partial")(*partial_arguments(name, z_a, z_b)[:-1], False)
    total = getattr(OPS, f"{name}_total")(*total_arguments(name, z_a, z_b)[:-1], False)
    y, operands = partial[-1], total[4:]
    assert y.numel() == 0 and all(tensor.numel() == 0 for tensor in operands)


def test_nothing_d_by_d_is_kept_for_n_below_d(name):
    n, d = 5, 9
    kept = forward(name, *views(n, d))[3:]
    assert all(d not in tensor.shape[:-1] for tensor in kept)


def test_unneeded_gradients_are_none(name):
    z_a, z_b = views(5, 9)
    backward = getattr(OPS, f"{name}_backward")
    arguments = backward_arguments(name, z_a, z_b, (False, True), (scalar(), None, None))
    dz_a, dz_b = backward(*arguments)
    assert dz_a is None and dz_b.shape == z_b.shape
    assert backward(*arguments[:-2], False, False) == (None, None)


def test_forward_refuses_mismatched_embeddings(name):
    z = torch.zeros(4, 3, device=device())
    for other in (z.new_zeros(5, 3), z.new_zeros(4, 2), z.new_zeros(12), z.half(), z.new_zeros(4, 3, 1)):
        with pytest.raises(RuntimeError, match="z_a and z_b must have"):
            forward(name, z, other)
    for bad in (z[:1], z[:, :0]):
        with pytest.raises(RuntimeError, match="N >= 2 samples and D >= 1"):
            forward(name, bad, bad)
    with pytest.raises(RuntimeError, match="float32, bfloat16 or float16"):
        forward(name, z.double(), z.double())


def test_partial_refuses(name):
    op = getattr(OPS, f"{name}_partial")
    z = torch.zeros(4, 3, device=device())

    def refuses(message, z_a, z_b, statistics=None):
        with pytest.raises(RuntimeError, match=message):
            op(*partial_arguments(name, z_a, z_b, statistics))

    refuses("z_a and z_b must have", z, z.new_zeros(4, 2))
    refuses("N >= 2 samples and D >= 1 features", *[z[: 1 if name == "gram" else 0]] * 2)
    refuses("float32, bfloat16 or float16", z.double(), z.double())
    good = as_it_is(z)
    for bad in (good[..., :-1].contiguous(), good.float(), good.mT.contiguous().mT):
        refuses("given_statistics is not the statistics", z, z, bad)
    if name == "correlation":
        with pytest.raises(RuntimeError, match="4 of 3 samples"):
            op(z, z, good, 3, False, True)


def test_total_refuses_what_partial_did_not_return(name):
    op = getattr(OPS, f"{name}_total")
    arguments = total_arguments(name, *views(9, 5))
    for index in (i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor)):
        x = arguments[index]
        for other in (x.flatten()[:-1].unsqueeze(0), x.int(), x.new_empty(*x.shape, 2)[..., 0]):
            with pytest.raises(RuntimeError, match=f"not a sum of what {name}_partial returned"):
                op(*arguments[:index], other, *arguments[index + 1 :])
    with pytest.raises(RuntimeError, match="float32, bfloat16 or float16"):
        op(*(torch.float64 if x is torch.float32 else x for x in arguments))


def broken(saved):
    """Other tensors in a saved one's place: without the last number, of another dtype, strided, not aligned."""
    yield saved.flatten()[:-1]
    yield saved.int()
    if saved.numel() > 1:
        yield saved.new_empty(saved.numel(), 2)[:, 0]
        yield saved.new_empty(saved.numel() + 1)[1:]


@pytest.mark.parametrize("shape", [(9, 5), (5, 9)], ids=str)
def test_backward_refuses_what_the_forward_did_not_return(name, shape):
    backward = getattr(OPS, f"{name}_backward")
    z_a, z_b = views(*shape)
    arguments = backward_arguments(name, z_a, z_b, (True, True), (scalar(), None, None))
    saved = [i for i, x in enumerate(arguments) if i > 4 and isinstance(x, torch.Tensor) and x.numel() > 0]
    assert len(saved) >= 3
    for index in saved:
        for other in broken(arguments[index]):
            with pytest.raises(RuntimeError, match="not what the forward returned"):
                backward(*arguments[:index], other, *arguments[index + 1 :])
    if name == "correlation" and shape == (5, 9):
        with pytest.raises(RuntimeError, match="c_off_diagonal is not what .* it is empty beside a share"):
            backward(*arguments[:-6], 50, *arguments[-5:])  # samples


def test_backward_refuses_gradients_that_are_no_float32_scalars(name):
    backward = getattr(OPS, f"{name}_backward")
    arguments = backward_arguments(name, *views(5, 9), (True, True), (scalar(), None, None))
    with pytest.raises(RuntimeError, match="gradient of a scalar must be a scalar"):
        backward(scalar().expand(2), *arguments[1:])
    with pytest.raises(RuntimeError, match="gradient of the loss must be float32"):
        backward(scalar().double(), *arguments[1:])


def test_tf32_is_another_number(name):
    z_a, z_b = views(31, 65)
    wide, narrow = forward(name, z_a, z_b), forward(name, z_a, z_b, tf32=True)
    assert wide[2] != narrow[2] and wide[1] == narrow[1]  # C_ii is summed in float32 either way


def test_tf32_makes_no_difference_to_16_bits(name):
    z_a, z_b = views(31, 65, torch.bfloat16)
    assert all(map(torch.equal, forward(name, z_a, z_b)[:3], forward(name, z_a, z_b, tf32=True)[:3]))


def test_compiled_code_follows_the_tf32_setting(name):
    """Its value is a constant of the graph: this is what says that dynamo's guards notice a change."""
    torch._dynamo.reset()

    def off_diagonal(z_a, z_b):
        return barlow_twins_terms(z_a, z_b, backend="cuda", formulation=name).off_diagonal

    def run(function, precision):
        torch.backends.cuda.matmul.fp32_precision = precision
        value = function(*leaves)
        return value.detach(), *torch.autograd.grad(value, leaves)

    leaves = [z.requires_grad_() for z in views(31, 65)]
    compiled = torch.compile(off_diagonal, fullgraph=True, backend="aot_eager")
    for precision in ("ieee", "tf32", "ieee"):
        assert all(map(torch.equal, run(compiled, precision), run(off_diagonal, precision)))
    assert run(compiled, "tf32")[0] != run(compiled, "ieee")[0]
