"""The network as a whole: its initial weights, and what it makes of two views."""

import pytest
import torch
from torch import nn

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.model.projector import build_projector
from bt_kernels.trainer.torchvision_import import import_torchvision


def small_network(**options):
    options = {"backbone": "resnet18", "projector": "12-24", **options}
    return build_network(Config(**options))


def views(channels=3, rows=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(rows, channels, 16, 16, generator=generator) for _ in "ab"]


def test_initial_weights_are_torchvisions_and_linears_for_the_seed():
    network = small_network(seed=3)
    torch.manual_seed(3)
    backbone = import_torchvision().models.resnet18(zero_init_residual=True)
    layers = [nn.Linear(512, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 24, bias=False)]
    expected = {f"backbone.{name}": t for name, t in backbone.state_dict().items() if not name.startswith("fc.")}
    expected |= {f"projector.{name}": t for name, t in nn.Sequential(*layers).state_dict().items()}
    state = network.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_initial_weights_depend_on_the_seed_and_leave_the_global_state():
    before = torch.get_rng_state()
    first, other = small_network(seed=0), small_network(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first.backbone.conv1.weight, other.backbone.conv1.weight)


def test_kernels_are_channels_last():
    for module in small_network().modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)


def test_projector_is_the_authors():
    projector = build_projector(5, [6, 7, 8])
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in projector] == kinds
    assert all(layer.bias is None for layer in projector if isinstance(layer, nn.Linear))
    assert projector(torch.rand(3, 5)).shape == (3, 8)
    assert [tuple(layer.weight.shape) for layer in build_projector(5, [6])] == [(6, 5)]


def test_views_together_are_one_batch_of_the_batch_norms():
    network = small_network().train()
    a, b = views()
    joined = network.projector(network.backbone(torch.cat((a, b))))
    assert all(map(torch.equal, network(a, b), joined.split(4)))


def test_views_separately_have_statistics_of_their_own():
    network = small_network(views="separately").train()
    a, b = views()
    expected = [network.projector(network.backbone(view)) for view in (a, b)]
    z_a, z_b = network(a, b)
    assert torch.equal(z_a, expected[0]) and torch.equal(z_b, expected[1])
    assert network.backbone.bn1.num_batches_tracked == 4
    network.together = True
    assert not torch.allclose(network(a, b)[0], z_a, rtol=1e-2)


@pytest.mark.parametrize("together", [True, False])
def test_one_channel_stands_for_three_equal_ones(together):
    network = small_network(views="together" if together else "separately").eval()
    a, b = views(channels=1)
    three = network(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1))
    assert all(map(torch.equal, network(a, b), three))
    assert network.features(a).shape == (4, 512)
