"""float32 embeddings with tf32 products: what torch.backends.cuda.matmul.fp32_precision = "tf32" asks for.

The backends for GPUs round the operands to tf32 themselves and to nearest, so where a CPU multiplies them as
float32, it sees the same numbers as the tensor cores. Held to rounded_operands.py with tf32.
"""

from functools import partial

import pytest
import torch

from bt_kernels import barlow_twins_terms
from bt_kernels.torch_versions import RELEASE
from tests.support.accuracy import Formula, NarrowProducts, evaluate
from tests.support.hard_embeddings import CASES
from tests.support.inputs import LARGE, SHAPES, views

pytestmark = [pytest.mark.runs_on("interpreter", "emulated", "cuda"), pytest.mark.backends("cuda", "triton")]


@pytest.fixture(autouse=True)
def tf32():
    precision = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    if torch.version.hip is not None:
        pytest.skip("not all of AMD's GPUs have tf32, and the kernels do not ask for it there")
    yield
    torch.backends.cuda.matmul.fp32_precision = precision


@pytest.fixture
def terms(backend, formulation):
    return partial(barlow_twins_terms, backend=backend, formulation=formulation)


@pytest.fixture
def narrow_products(formulation):
    return NarrowProducts(formulation, tf32=True)


@pytest.mark.parametrize("shape", [*SHAPES[::2], *(shape for shape, _ in LARGE)], ids=str)
def test_meets_the_standard(terms, yardstick, shape):
    expected = yardstick(*shape, torch.float32, Formula(lambd=0.05, output_gradients=(1.5, 0.5, 0.25)))
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))


@pytest.mark.parametrize("name", ["whitened, N < D", "whitened, N > D", "dominated 1e3", "collapsed"])
def test_hard_embeddings_meet_the_standard(terms, yardstick_of, name):
    z_a, z_b = (z.float() for z in CASES[name]())
    yardstick_of(z_a, z_b).check(evaluate(terms, z_a, z_b, Formula()))


def test_float32_would_be_noticed(terms, yardstick):
    """The loss with tf32 is another number than without, in both formulations."""
    z_a, z_b = views(31, 65)
    narrow = terms(z_a, z_b)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    wide = terms(z_a, z_b)
    assert narrow.off_diagonal != wide.off_diagonal
    assert narrow.on_diagonal == wide.on_diagonal  # C_ii is summed in float32 either way


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_give_nan(terms, bad):
    z_a, z_b = views(9, 40)
    z_b[4, 7] = bad
    z_a.requires_grad_()
    loss, on_diagonal, off_diagonal = terms(z_a, z_b)
    assert loss.isnan() and on_diagonal.isnan() and off_diagonal.isnan()
    assert torch.autograd.grad(loss, z_a)[0].isnan().any()


@pytest.mark.skipif(RELEASE < (2, 9), reason="torch.backends.fp32_precision is new in torch 2.9")
@pytest.mark.filterwarnings("ignore:torch.backends.fp32_precision is", "ignore::DeprecationWarning")
@pytest.mark.long_interpreted("test_cuda_ops.py compiles with matmul's setting")
@pytest.mark.parametrize("shape", [(31, 65), (65, 31)], ids=str)
def test_compiled_code_follows_the_general_setting(terms, shape):
    """It is a constant of the graph. The first compilation makes it matmul's own, which is "tf32" from then on.
    The shapes of what is saved follow the tiles, and these the setting."""
    torch._dynamo.reset()

    def run(function, precision):
        torch.backends.fp32_precision = precision
        value = function(*leaves).off_diagonal
        return value.detach(), *torch.autograd.grad(value, leaves)

    leaves = [z.requires_grad_() for z in views(*shape)]
    compiled = torch.compile(terms, fullgraph=True, backend="aot_eager")
    torch.backends.cuda.matmul.fp32_precision = "none"
    try:
        seen = [run(compiled, precision) for precision in ("tf32", "ieee", "tf32")]
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        for values, precision in zip(seen, ("tf32", "ieee", "tf32"), strict=True):
            assert all(map(torch.equal, values, run(terms, precision)))
        assert seen[0][0] != seen[1][0]
    finally:
        torch.backends.fp32_precision = "none"
