"""A training script as lightly's users write it, with lightly's loss, and then with the one line exchanged."""

import pytest
import torch
import torchvision
from lightly.loss import BarlowTwinsLoss as LightlyLoss
from lightly.models.modules import BarlowTwinsProjectionHead
from torch import nn

from bt_kernels.presets.lightly import BarlowTwinsLoss as PresetLoss

STEPS, BATCH = 4, 12


class BarlowTwins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = BarlowTwinsProjectionHead(512, 64, 48)

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


def train(loss_class) -> dict:
    torch.manual_seed(0)
    model = BarlowTwins().double()
    criterion = loss_class()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        pictures = torch.rand(BATCH, 3, 32, 32, dtype=torch.float64)
        x0, x1 = (pictures + 0.1 * torch.randn_like(pictures) for _ in range(2))
        loss = criterion(model(x0), model(x1))
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {**model.state_dict(), "losses": torch.stack(losses)}


@pytest.fixture(scope="module")
def with_lightlys_loss() -> dict:
    return train(LightlyLoss)


def test_the_one_line_changes_nothing(with_lightlys_loss):
    with_the_preset = train(PresetLoss)
    for name, expected in with_lightlys_loss.items():
        torch.testing.assert_close(with_the_preset[name], expected, rtol=1e-9, atol=1e-11, msg=name)


def test_another_loss_would_be_noticed(with_lightlys_loss):
    other = train(lambda: PresetLoss(0.0051))
    assert not torch.allclose(other["losses"], with_lightlys_loss["losses"], rtol=1e-6)
    name = "projection_head.layers.0.weight"
    assert not torch.allclose(other[name], with_lightlys_loss[name], rtol=1e-6)
