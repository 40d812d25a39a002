"""The authors' step and this trainer's, loss for loss, with the optimization of the imagenet preset."""

import copy
from contextlib import nullcontext

import pytest
import torch
from official_step import OfficialModel, adjust_learning_rate, official_optimizer, official_step

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.presets import PRESETS
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.training.accumulation import forward_backward

ROWS, STEPS, WIDTHS = 12, 20, [32, 32, 32]
# The learning rates grow with the batch size; that of the authors makes 12 images move the weights visibly.
NOMINAL_BATCH = 2048
OPTIMIZATION = {
    name: PRESETS["imagenet"][name]
    for name in (
        "shortcuts", "optimizer", "learning_rate", "learning_rate_biases", "scale_learning_rates", "warmup",
        "final_learning_rate", "weight_decay", "views", "batch_size",
    )
}  # fmt: skip


def configuration(**options):
    return Config(backbone="resnet18", projector="32-32-32", image_size=16, epochs=STEPS, **OPTIMIZATION, **options)


def views(dtype):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, 16, 16, generator=generator, dtype=torch.float64)
    for _ in range(STEPS):
        yield [(images + 0.3 * torch.randn(images.shape, generator=generator, dtype=torch.float64)).to(dtype) for _ in "ab"]


def official_run(dtype, gpus):
    """Losses and final weights of the authors' way; the nominal batch is that of the rows in the loss alone."""
    backbone = import_torchvision().models.resnet18(zero_init_residual=True)
    backbone.fc = torch.nn.Identity()
    model = OfficialModel(backbone, [512, *WIDTHS], ROWS, gpus=gpus)
    assert not model.load_state_dict(build_network(configuration()).state_dict(), strict=False).unexpected_keys
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
    network = build_network(config).to(dtype).train()
    optimizer = build_optimizer(network, config)
    scheduler = build_scheduler(optimizer, config, steps_per_epoch=1)
    criterion = BarlowTwinsLoss(lambd=config.lambd, return_terms=True)
    losses = []
    for view_a, view_b in views(dtype):
        optimizer.zero_grad()
        result = forward_backward(
            network, criterion, view_a, view_b,
            chunks=1, exact=True, divisor=config.gradient_divisor, autocast=nullcontext,
            scale=lambda loss: loss, synchronize=lambda flag: None, check=lambda result: None,
        )  # fmt: skip
        optimizer.step()
        scheduler.step()
        losses.append(result.loss.item())
    return torch.tensor(losses, dtype=torch.float64), copy.deepcopy(network.state_dict())


@pytest.mark.parametrize("gpus", [1, 2])
def test_same_losses_and_weights_in_float64(gpus):
    expected, expected_weights = official_run(torch.float64, gpus)
    losses, weights = own_run(torch.float64, gpus)
    assert expected.std() / expected.mean() > 0.05
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-7, atol=1e-10)


def test_as_exact_in_float32_as_the_authors():
    exact, _ = official_run(torch.float64, 1)
    error = (official_run(torch.float32, 1)[0] - exact).abs().max()
    assert (own_run(torch.float32, 1)[0] - exact).abs().max() <= 2 * error
