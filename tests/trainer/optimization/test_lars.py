"""LARS against its definition, a parameter at a time; over ranks in test_step_on_ranks.py."""

import copy
import io

import pytest
import torch
from torch import nn

from bt_kernels.trainer.optimization.lars import LARS
from bt_kernels.trainer.torchvision_import import import_torchvision
from tests.support.trainer.official_step import OfficialLARS

STEPS = 50


def network(dtype=torch.float64):
    """Kernels, matrices, biases, norms; one matrix is zero and one gets no gradient."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5)
    )
    nn.init.zeros_(layers[5].weight)
    layers.unused = nn.Parameter(torch.ones(2, 2))
    return layers.to(dtype)


def gradients(model, step):
    """Random gradients, smaller and smaller; those of the last layer are zero at first."""
    generator = torch.Generator().manual_seed(step)
    for name, p in model.named_parameters():
        if name == "unused":
            continue
        gradient = torch.randn(p.shape, generator=generator, dtype=torch.float64) / (1 + step)
        p.grad = (gradient * (step > 2 or not name.startswith("5."))).to(p.dtype)


def groups(model):
    parameters = list(model.parameters())
    weights, biases = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    return [{"params": weights, "lr": 2.0}, {"params": biases, "lr": 0.01}]


def train(model, optimizer, steps=range(STEPS)):
    for step in steps:
        gradients(model, step)
        optimizer.step()
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def trained(kind, dtype=torch.float64, **options):
    model = network(dtype)
    return train(model, kind(groups(model), lr=0.0, **options))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_is_the_definition(weight_decay, momentum):
    options = {"weight_decay": weight_decay, "momentum": momentum}
    exact = trained(OfficialLARS, eta=0.02, **options)
    own = trained(LARS, trust_coefficient=0.02, **options)
    torch.testing.assert_close(own, exact, rtol=1e-12, atol=1e-14)
    error = (trained(OfficialLARS, torch.float32, eta=0.02, **options) - exact).norm()
    assert (trained(LARS, torch.float32, trust_coefficient=0.02, **options) - exact).norm() <= 2 * error


def test_is_not_that_of_timm_unless_nothing_decays():
    import_torchvision()  # first: timm imports it
    timm = pytest.importorskip("timm.optim")

    def weights(weight_decay):
        torch.manual_seed(0)
        options = {"lr": 1.0, "momentum": 0.9, "weight_decay": weight_decay}
        own, theirs = (nn.Linear(8, 5, bias=False, dtype=torch.float64) for _ in range(2))
        theirs.load_state_dict(own.state_dict())
        train(own, LARS(own.parameters(), **options), range(5))
        lars = timm.Lars(theirs.parameters(), trust_coeff=0.001, eps=0.0, always_adapt=True, **options)
        train(theirs, lars, range(5))
        return own.weight, theirs.weight

    torch.testing.assert_close(*weights(0.0), rtol=1e-12, atol=0)
    own, theirs = weights(0.1)
    assert (own / theirs - 1).abs().max() > 1e-6


def test_goes_on_from_a_saved_state():
    model = network()
    optimizer = LARS(groups(model), lr=0.0, weight_decay=0.1)
    train(model, optimizer, range(5))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    resumed = LARS(groups(other), lr=1.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert all(set(state) == {"mu"} for state in resumed.state.values())
    assert torch.equal(train(other, resumed, range(5, 9)), train(model, optimizer, range(5, 9)))


def test_leaves_gradients_and_parameters_without_one_alone():
    model = network()
    gradients(model, 7)
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    optimizer = LARS(groups(model), lr=0.0, weight_decay=0.1)
    optimizer.step()
    assert all(map(torch.equal, before, [p.grad for p in model.parameters() if p.grad is not None]))
    assert torch.equal(model.unused, torch.ones(2, 2, dtype=torch.float64)) and model.unused not in optimizer.state


def test_closure_computes_the_gradients():
    p = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = LARS([p], lr=1.0, momentum=0.0, trust_coefficient=0.5)

    def closure():
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4
    torch.testing.assert_close(p.detach(), torch.full((2, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(
    "options", [{"lr": -1.0}, {"momentum": 1.0}, {"weight_decay": -1e-6}, {"trust_coefficient": 0.0}]
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="LARS needs lr >= 0"):
        LARS(network().parameters(), **{"lr": 1.0, **options})


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="LARS needs dense gradients"):
        LARS(embedding.parameters(), lr=1.0).step()


def test_step_reads_nothing_back_from_the_device():
    model = network().to("meta")  # whose tensors have no values to read
    for p in model.parameters():
        p.grad = torch.empty_like(p)
    LARS(groups(model), lr=0.0, weight_decay=0.1).step()
