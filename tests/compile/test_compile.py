"""torch.compile(fullgraph=True): the bits of the uncompiled loss, forward and backward."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend

from bt_kernels import BarlowTwinsLoss
from bt_kernels.torch_versions import RELEASE
from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import views
from tests.support.target import device

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.covering(1)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


FORMULA = Formula(lambd=0.05, output_gradients=(1.5, 0.5, 0.25))


def as_compiled(number: float) -> float | torch.Tensor:
    """What rounds uncompiled as the number does compiled: up to torch 2.7 that takes a tensor's way."""
    return number if RELEASE >= (2, 8) else torch.tensor(number, dtype=torch.float64)


def bits(terms, z_a, z_b):
    result = evaluate(terms, z_a, z_b, FORMULA)
    return *result.terms, *result.gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(9, 40), (40, 9)], ids=str)
def test_same_bits(terms, shape, dtype):
    compiled = torch.compile(terms, fullgraph=True, backend="aot_eager")
    z_a, z_b = views(*shape, dtype)
    assert all(map(torch.equal, bits(compiled, z_a, z_b), bits(terms, z_a, z_b)))
    with torch.no_grad():
        assert all(map(torch.equal, compiled(z_a, z_b, **FORMULA.options()), terms(z_a, z_b, **FORMULA.options())))


@pytest.mark.long_interpreted("the ops are as opaque as cpu's")
@pytest.mark.backends("cpu", "cuda", "triton")
def test_inductor(terms, yardstick):
    """The ops are opaque to inductor."""
    compiled = torch.compile(terms, fullgraph=True)
    expected = yardstick(9, 40, formula=FORMULA)
    z_a, z_b = expected.z_a, expected.z_b
    expected.check(evaluate(compiled, z_a, z_b, FORMULA))
    assert all(map(torch.equal, bits(compiled, z_a, z_b), bits(terms, z_a, z_b)))


@pytest.mark.long
@pytest.mark.backends("eager")
def test_inductor_s_own_code(terms, yardstick):
    """What inductor makes of the plain PyTorch of eager is held to the standard."""
    compiled = torch.compile(terms, fullgraph=True)
    expected = yardstick(9, 40, formula=FORMULA)
    expected.check(evaluate(compiled, expected.z_a, expected.z_b, FORMULA))


@pytest.mark.long_interpreted("that sizes stay symbols is asked of the op's fake: opcheck")
@pytest.mark.skipif(
    (2, 7) <= RELEASE < (2, 10), reason="Dynamo of torch 2.8 cannot have a symbol in a frozen dataclass, as eps is"
)
def test_dynamic_shapes(backend, terms, yardstick):
    """lambd and scale are symbols, too."""
    compiled = torch.compile(terms, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=False):
        for shape in ((9, 40), (10, 40), (10, 41), (40, 9), (2, 1)):
            expected = yardstick(*shape, formula=FORMULA)
            result = evaluate(compiled, expected.z_a, expected.z_b, FORMULA)
            expected.check(result)
            if backend != "eager":
                of_op = terms(expected.z_a, expected.z_b, **FORMULA.options())[1:]
                assert all(map(torch.equal, result.terms[1:], of_op))


@pytest.mark.long_interpreted("a graph of the same op as in test_same_bits")
@pytest.mark.backends("cpu", "cuda", "triton")
@pytest.mark.parametrize("d_less_n", [30, -30])
def test_one_graph_for_all_sizes(terms, d_less_n):
    """Of N and D it asks which is larger, and not whether a matrix that is kept fills whole cache lines."""
    compiler = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(terms, fullgraph=True, dynamic=True, backend=compiler)
    counts = []
    for smaller in (9, 10, 12, 16):
        shape = (smaller, smaller + d_less_n) if d_less_n > 0 else (smaller - d_less_n, smaller)
        z_a, z_b = (z.requires_grad_() for z in views(*shape))
        torch.autograd.grad(compiled(z_a, z_b).loss, (z_a, z_b))
        counts.append(compiler.frame_count)
    assert len(set(counts)) == 1


@pytest.mark.runs_on("cpu")
def test_a_constant_stays_a_constant_of_the_graph(terms, backend):
    """The op makes the loss. No tensor on the CPU is put in, with which a CUDA graph could not be captured."""
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph

    torch.compile(terms, fullgraph=True, backend=aot_autograd(fw_compiler=keep))(*views(9, 40))
    assert backend == "eager" or not any("aten" in str(node.target) for node in graphs[0].graph.nodes)
    assert len([node for node in graphs[0].graph.nodes if node.op == "placeholder"]) == 2


@pytest.mark.long_interpreted("a graph of the same op as in test_same_bits")
def test_autocast_inside(terms):
    def under_autocast(z_a, z_b, **options):
        with torch.autocast(device().type, torch.bfloat16):
            return terms(z_a, z_b, **options)

    z_a, z_b = views(9, 40)
    compiled = torch.compile(under_autocast, fullgraph=True, backend="aot_eager")
    assert all(map(torch.equal, bits(compiled, z_a, z_b), bits(terms, z_a, z_b)))


@pytest.mark.long_interpreted("a graph of the same op as in test_same_bits")
@pytest.mark.parametrize("call", [BarlowTwinsLoss.forward, BarlowTwinsLoss.terms, BarlowTwinsLoss.__call__])
def test_a_method_of_the_module(backend, formulation, call):
    criterion = BarlowTwinsLoss(backend=backend, formulation=formulation)
    method = call.__get__(criterion)
    compiled = torch.compile(method, fullgraph=True, backend="aot_eager")
    z_a, z_b = views(9, 40)
    torch.testing.assert_close(compiled(z_a, z_b), method(z_a, z_b), rtol=0, atol=0)


@pytest.mark.long_interpreted("a graph of the same op as in test_same_bits")
@pytest.mark.parametrize("width", [40, 5])
def test_training_step(backend, formulation, width):
    """Module and linear layer in one graph; several steps, each with the bits of the uncompiled."""
    x_a, x_b = views(9, 12)

    def train(compile_step):
        torch.manual_seed(0)
        linear = torch.nn.Linear(12, width).to(device())
        loss = BarlowTwinsLoss(as_compiled(0.0051), backend=backend, formulation=formulation)

        def forward():
            return loss(linear(x_a), linear(x_b))

        run = torch.compile(forward, fullgraph=True, backend="aot_eager") if compile_step else forward
        losses = []
        for _ in range(3):
            linear.zero_grad()
            losses.append(run())
            losses[-1].backward()
            with torch.no_grad():
                linear.weight -= 0.01 * linear.weight.grad
        return torch.stack(losses).detach(), linear.weight.detach()

    assert all(map(torch.equal, train(True), train(False)))


class TwoViews(torch.nn.Module):
    """A small convolutional network, its projector and the loss, as a training script has them."""

    def __init__(self, **how) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2)
        )
        self.projector = torch.nn.Sequential(
            torch.nn.Linear(16, 12), torch.nn.BatchNorm1d(12), torch.nn.ReLU(), torch.nn.Linear(12, 20)
        )
        self.loss = BarlowTwinsLoss(**how)

    def forward(self, x_a, x_b):
        return self.loss(*(self.projector(self.backbone(x).flatten(1)) for x in (x_a, x_b)))


def trained(how: dict, dtype: torch.dtype, autocast: bool, compile_step: bool) -> dict:
    """The state after three steps: forward, backward and optimizer in what is compiled."""
    model = TwoViews(**how).to(device(), dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step(x_a, x_b):
        optimizer.zero_grad()
        with torch.autocast(device().type, torch.bfloat16, enabled=autocast, cache_enabled=False):
            loss = model(x_a, x_b)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = torch.compile(step, backend="aot_eager") if compile_step else step
    losses = []
    for seed in range(3):
        losses.append(run(*(x.view(9, 3, 6, 6) for x in views(9, 108, dtype, seed))))
    return {**model.state_dict(), "losses": torch.stack(losses)}


@pytest.mark.long
@pytest.mark.backends("cpu", "eager", why="float64")
def test_whole_training_step(backend, formulation):
    how = {"backend": backend, "formulation": formulation}
    compiled, plain = (trained(how, torch.float64, False, compile_step) for compile_step in (True, False))
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-10, atol=1e-13, msg=name)


@pytest.mark.long
@pytest.mark.runs_on("cpu")
@pytest.mark.skipif(
    RELEASE < (2, 12), reason="up to torch 2.11 compiled steps round otherwise, whatever the loss is"
)
def test_whole_training_step_under_autocast(backend, formulation):
    """A rounding to bfloat16 more or less would be seen: the compiled step makes the same ones. Without autocast's
    cache of weights, which a compiled step does not have: with it, both views' gradients of a weight are added up
    in bfloat16."""
    how = {"backend": backend, "formulation": formulation}
    compiled, plain = (trained(how, torch.float32, True, compile_step) for compile_step in (True, False))
    for name, value in plain.items():
        assert torch.equal(compiled[name], value), name
