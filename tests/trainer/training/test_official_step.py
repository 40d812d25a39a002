"""The authors' step and this trainer's, loss for loss, with the optimization of the imagenet preset."""

import copy
from contextlib import nullcontext

import pytest
import torch

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import PRESETS
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.model.projector import build_projector
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.training.accumulation import forward_backward
from tests.support.trainer.official_step import (
    OfficialModel,
    adjust_learning_rate,
    official_optimizer,
    official_step,
)

ROWS, STEPS, FEATURES, WIDTHS = 12, 20, 128, [32, 32, 32]
# What the learning rates are made for; 12 images' own would hardly move the weights in 20 steps.
NOMINAL_BATCH = 256
OPTIMIZATION = {
    name: PRESETS["imagenet"][name]
    for name in (
        "shortcuts", "optimizer", "learning_rate", "learning_rate_biases", "scale_learning_rates", "warmup",
        "final_learning_rate", "weight_decay", "views",
    )
}  # fmt: skip


def configuration(**options):
    return Config(
        backbone="resnet18",
        projector="32-32-32",
        image_size=16,
        epochs=STEPS,
        batch_size=NOMINAL_BATCH,
        **OPTIMIZATION,
        **options,
    )


def views(dtype):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, 16, 16, generator=generator, dtype=torch.float64)
    for _ in range(STEPS):
        yield [
            (images + 0.3 * torch.randn(images.shape, generator=generator, dtype=torch.float64)).to(dtype)
            for _ in "ab"
        ]


def cut(backbone):
    """Leave out the layers whose maps would have a single pixel, and whose batch norms few values to average."""
    backbone.layer3 = backbone.layer4 = torch.nn.Identity()


def small_network(config):
    network = build_network(config)
    cut(network.backbone)
    network.projector = build_projector(FEATURES, WIDTHS)
    return network


def official_run(dtype, gpus):
    """Losses and final weights of the authors' way."""
    backbone = import_torchvision().models.resnet18(zero_init_residual=True)
    backbone.fc = torch.nn.Identity()
    cut(backbone)
    model = OfficialModel(backbone, [FEATURES, *WIDTHS], ROWS, gpus=gpus)
    torch.manual_seed(0)
    state = model.load_state_dict(small_network(configuration()).state_dict(), strict=False)
    assert not state.unexpected_keys and all(name.startswith("bn.") for name in state.missing_keys)
    model.to(dtype).train()
    optimizer = official_optimizer(model)
    losses = []
    for step, (y1, y2) in enumerate(views(dtype)):
        adjust_learning_rate(optimizer, step, epochs=STEPS, steps_per_epoch=1, batch_size=NOMINAL_BATCH)
        losses.append(official_step(model, optimizer, y1, y2))
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("bn.")}
    return torch.tensor(losses, dtype=torch.float64), weights


def own_run(dtype, gpus):
    config = configuration(gradient_divisor=float(gpus))
    torch.manual_seed(0)
    network = small_network(config).to(dtype).train()
    optimizer = build_optimizer(network, config)
    scheduler = build_scheduler(optimizer, config, steps_per_epoch=1)
    criterion = BarlowTwinsLoss(lambd=config.lambd).terms
    losses = []
    for view_a, view_b in views(dtype):
        optimizer.zero_grad()
        result = forward_backward(
            network, criterion, view_a, view_b,
            chunks=1, exact=True, gradient_divisor=config.gradient_divisor, autocast=nullcontext,
            scale=lambda loss: loss, synchronize=lambda flag: None, check=lambda result: None,
        )  # fmt: skip
        optimizer.step()
        scheduler.step()
        losses.append(result.loss.item())
    return torch.tensor(losses, dtype=torch.float64), copy.deepcopy(network.state_dict())


@pytest.fixture(scope="module")
def exact():
    return official_run(torch.float64, gpus=1)


def check_same(actual, expected):
    (losses, weights), (expected_losses, expected_weights) = actual, expected
    torch.testing.assert_close(losses, expected_losses, rtol=1e-10, atol=0)
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-9, atol=1e-12)


def test_same_losses_and_weights_in_float64(exact):
    assert exact[0][-5:].mean() < 0.8 * exact[0][:5].mean()
    check_same(own_run(torch.float64, gpus=1), exact)


@pytest.mark.long
def test_gradient_divisor_is_the_number_of_gpus(exact):
    expected = official_run(torch.float64, gpus=2)
    assert (expected[0] / exact[0] - 1).abs().max() > 1e-3
    check_same(own_run(torch.float64, gpus=2), expected)


@pytest.mark.long
def test_as_exact_in_float32_as_the_authors(exact):
    error = (official_run(torch.float32, gpus=1)[0] - exact[0]).abs().max()
    assert (own_run(torch.float32, gpus=1)[0] - exact[0]).abs().max() <= 2 * error
