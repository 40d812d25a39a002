import pytest
import torch

from bt_kernels.trainer.config import BACKBONE_FEATURES, Config
from bt_kernels.trainer.model.convolution import PooledShortcut
from bt_kernels.trainer.model.network import build_backbone, build_network
from bt_kernels.trainer.report.finish import export_backbone
from bt_kernels.trainer.torchvision_import import import_torchvision


@pytest.mark.parametrize("architecture", BACKBONE_FEATURES)
def test_exported_weights_load_strictly_in_torchvision(architecture, tmp_path):
    network = build_network(Config(backbone=architecture, projector="8"))
    export_backbone(network, tmp_path / "backbone.pth")
    exported = torch.load(tmp_path / "backbone.pth", weights_only=True)
    assert all(tensor.is_contiguous() for tensor in exported.values())
    model = import_torchvision().models.get_model(architecture, num_classes=10)
    model.fc = torch.nn.Identity()
    model.load_state_dict(exported, strict=True)
    assert torch.equal(model.conv1.weight, network.backbone.conv1.weight)


def test_same_features_as_torchvision_with_pooling_before_the_shortcut():
    backbone = build_backbone("resnet50").eval()
    reference = import_torchvision().models.resnet50()
    reference.fc = torch.nn.Identity()
    reference.load_state_dict(backbone.state_dict())
    for layer in (reference.layer2, reference.layer3, reference.layer4):
        convolution = layer[0].downsample[0]
        convolution.stride = (1, 1)
        pool = torch.nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        layer[0].downsample = torch.nn.Sequential(pool, *layer[0].downsample)
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(backbone(images), reference.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", BACKBONE_FEATURES)
def test_shapes_shortcuts_and_zero_initialised_residuals(architecture):
    network = build_network(Config(backbone=architecture, projector="12-24")).eval()
    images = torch.rand(2, 1, 16, 16)
    assert network.features(images).shape == (2, BACKBONE_FEATURES[architecture])
    assert network(images).shape == (2, 24)
    assert sum(isinstance(module, PooledShortcut) for module in network.modules()) == 3
    last = "bn3" if architecture == "resnet50" else "bn2"
    gammas = [p for name, p in network.backbone.named_parameters() if name.endswith(f"{last}.weight")]
    assert len(gammas) == {"resnet18": 8, "resnet50": 16}[architecture]
    assert all(not gamma.any() for gamma in gammas)


def test_initial_weights_depend_on_the_seed_and_leave_the_global_state():
    before = torch.get_rng_state()
    first, again, other = (build_network(Config(backbone="resnet18", seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.backbone.conv1.weight, other.backbone.conv1.weight)
