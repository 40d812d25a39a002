"""Models by their names, against torchvision's and timm's own; and the sentences for those that will not do."""

import sys

import pytest
import torch
from torch import nn

from bt_kernels.trainer.config.parts import BackboneOptions
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.model.convolution import MatmulConv2d, PooledShortcut
from bt_kernels.trainer.torchvision_import import import_torchvision

models = import_torchvision().models


def build(name, image_size, stem="imagenet", shortcuts="strided"):
    return build_backbone(BackboneOptions(backbone=name, stem=stem, shortcuts=shortcuts), image_size)


def of_torchvision(name, backbone, **options):
    """torchvision's own model, its classifier left out, with the weights of ``backbone``."""
    model = models.get_model(name, **options)
    model.fc = nn.Identity()
    model.load_state_dict(backbone.state_dict(), strict=True)
    return model.eval()


def images(size):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def check_features(backbone, reference, size):
    torch.testing.assert_close(backbone.eval()(images(size)), reference(images(size)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "width", "size"), [("resnet18", 512, 32), ("resnet34", 512, 48), ("resnext50_32x4d", 2048, 33)]
)
def test_strided_resnets_are_torchvisions(name, width, size):
    backbone, features = build(name, size)
    assert features == width
    check_features(backbone, of_torchvision(name, backbone), size)


def test_pooled_shortcuts_are_torchvisions_with_pooling_before_them():
    backbone, _ = build("resnet50", 48, shortcuts="pooled")
    assert sum(isinstance(module, PooledShortcut) for module in backbone.modules()) == 3
    reference = of_torchvision("resnet50", backbone)
    for layer in (reference.layer2, reference.layer3, reference.layer4):
        layer[0].downsample[0].stride = (1, 1)
        pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        layer[0].downsample = nn.Sequential(pool, *layer[0].downsample)
    check_features(backbone, reference, 48)


@pytest.mark.parametrize("shortcuts", ["strided", "pooled"])
def test_small_stem_is_one_convolution_that_keeps_the_resolution(shortcuts):
    backbone, features = build("resnet18", 16, stem="small", shortcuts=shortcuts)
    assert features == 512
    assert isinstance(backbone.maxpool, nn.Identity) and backbone.conv1.weight.shape == (64, 3, 3, 3)
    assert backbone.layer1(backbone.relu(backbone.bn1(backbone.conv1(images(16))))).shape == (2, 64, 16, 16)
    # He's initialisation over the 64 · 9 connections of an input, and 1,728 numbers to measure it by.
    assert backbone.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    others = {name for name in backbone.state_dict() if name != "conv1.weight"}
    expected = {name for name in models.resnet18().state_dict() if not name.startswith("fc.")} - {"conv1.weight"}
    assert others == expected


@pytest.mark.parametrize(("name", "last", "blocks"), [("resnet18", "bn2", 8), ("resnet50", "bn3", 16)])
def test_last_norm_of_every_residual_block_begins_at_zero(name, last, blocks):
    backbone, _ = build(name, 16)
    gammas = [p for parameter, p in backbone.named_parameters() if parameter.endswith(f"{last}.weight")]
    assert len(gammas) == blocks and all(not gamma.any() for gamma in gammas)


@pytest.mark.parametrize("size", [32, 33])
def test_convolutions_are_matrix_products_for_small_images_only(size):
    backbone, _ = build("resnet18", size)
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert {isinstance(module, MatmulConv2d) for module in convolutions} == {size == 32}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "width", "classifier"),
    [
        ("squeezenet1_1", 512, "classifier.1."),
        ("mobilenet_v3_small", 1024, "classifier.3."),
        ("shufflenet_v2_x0_5", 1024, "fc."),
        ("efficientnet_b0", 1280, "classifier.1."),
        ("googlenet", 1024, "fc."),  # which returns a tuple in training, with its auxiliary classifiers
        ("vit_b_32", 768, "heads.head."),  # made for one size of images
    ],
)
def test_other_models_of_torchvision_lose_their_classifier(name, width, classifier):
    backbone, features = build(name, 32)
    assert features == width
    for training in (True, False):
        assert backbone.train(training)(images(32)).shape == (2, width)
    options = {"vit_b_32": {"image_size": 32}, "googlenet": {"aux_logits": False, "init_weights": True}}
    with torch.device("meta"):
        expected = models.get_model(name, **options.get(name, {})).state_dict()
    shapes = {key: tensor.shape for key, tensor in backbone.state_dict().items()}
    assert shapes == {key: t.shape for key, t in expected.items() if not key.startswith(classifier)}


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("timm:resnet18", 512),  # torchvision has one, too
        ("resnet10t", 512),
        ("mobilenetv3_small_050", 1024),  # wider features than its num_features
        ("vit_tiny_patch16_224", 192),  # made for one size of images
        ("deit_tiny_distilled_patch16_224", 192),
    ],
)
def test_models_of_timm(name, width):
    pytest.importorskip("timm")
    backbone, features = build(name, 32)
    assert type(backbone).__module__.startswith("timm.")
    assert features == width
    for training in (True, False):
        assert backbone.train(training)(images(32)).shape == (2, width)


def test_shapes_are_found_without_random_numbers_or_a_change_of_the_buffers():
    torch.manual_seed(0)
    backbone, _ = build("efficientnet_b0", 32)  # with dropout and stochastic depth
    after = torch.get_rng_state()
    assert not any(t.any() for name, t in backbone.state_dict().items() if name.endswith("num_batches_tracked"))
    torch.manual_seed(0)
    models.efficientnet_b0()
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "size", "options", "sentence"),
    [
        ("resnet5000", 32, {}, r"resnet5000 is no classification model .*did you mean resnet50"),
        ("rsenet50", 32, {"shortcuts": "pooled"}, "rsenet50 is no classification model .*did you mean resnet50"),
        ("timm:resnet18", 32, {"shortcuts": "pooled"}, "--shortcuts pooled is for torchvision's ResNets"),
        ("fcn_resnet50", 32, {}, "is no classification model of torchvision"),
        ("timm:zzzzzz", 32, {}, r"none of timm; timm.list_models\(\) names them all"),
        ("alexnet", 16, {}, r"alexnet does not take images of --image-size 16 \(.* too small\); use another size"),
        ("vit_b_16", 24, {}, "vit_b_16 does not take images of --image-size 24"),
        ("inception_v3", 32, {}, "inception_v3 does not take images of --image-size 32"),
        ("alexnet", 64, {"stem": "small"}, "--stem small is for torchvision's ResNets, .* use --stem imagenet"),
        ("alexnet", 64, {"shortcuts": "pooled"}, "--shortcuts pooled is for .* use --shortcuts strided"),
    ],
)
def test_what_will_not_do_is_one_sentence(name, size, options, sentence):
    pytest.importorskip("timm")
    with pytest.raises(TrainerError, match=sentence) as refused:
        build(name, size, **options)
    assert "\n" not in str(refused.value) and name in str(refused.value)


def test_a_model_without_one_vector_per_image_is_refused(monkeypatch):
    monkeypatch.setattr(models.squeezenet.SqueezeNet, "forward", lambda model, x: model.features(x))
    with pytest.raises(TrainerError, match=r"squeezenet1_1 gives \(2, 512, 1, 1\) for two images"):
        build("squeezenet1_1", 32)
    monkeypatch.setattr(models.squeezenet.SqueezeNet, "forward", lambda model, x: (x, x))
    with pytest.raises(TrainerError, match="squeezenet1_1 gives a tuple for two images"):
        build("squeezenet1_1", 32)


def test_without_timm_its_models_are_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TrainerError, match="vit_tiny_patch16_224 is no classification model .* pip install timm"):
        build("vit_tiny_patch16_224", 32)
    with pytest.raises(TrainerError, match=r"\(did you mean resnet50 or .*\).* pip install timm"):
        build("resnet5000", 32)
    assert build("resnet18", 32)[1] == 512
