import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bt_kernels import __version__
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.run.checkpoint import Checkpoints
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.weights.export import backbone_files, export_backbone
from bt_kernels.trainer.weights.load import load_backbone_weights, load_into

torchvision = import_torchvision()


@pytest.fixture(scope="module")
def config():
    return Config(backbone="resnet18", projector="8-8", image_size=8, shortcuts="strided")


@pytest.fixture(scope="module")
def network(config):
    """A network whose running averages are not those of a new one."""
    network = build_network(config)
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.add_(1)
    return network


@pytest.fixture(scope="module")
def exported(network, config, tmp_path_factory):
    return export_backbone(network.backbone, tmp_path_factory.mktemp("exported"), config)


def same(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_export_is_torchvisions_model_without_its_classifier(network, exported):
    pth, _ = exported
    resnet = torchvision.models.resnet18()
    left = resnet.load_state_dict(torch.load(pth, weights_only=True), strict=False)
    assert left.missing_keys == ["fc.weight", "fc.bias"] and left.unexpected_keys == []
    resnet.fc = torch.nn.Identity()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    features = resnet.double().eval()(images)
    own = build_backbone(dataclasses.replace(Config(), backbone="resnet18", shortcuts="strided"), 64)[0]
    own.load_state_dict(network.backbone.state_dict())
    torch.testing.assert_close(own.double().eval()(images), features, rtol=1e-12, atol=1e-12)


def test_both_exports_hold_the_backbones_state(network, exported):
    pth, safetensors = exported
    expected = network.backbone.state_dict()
    for weights in (torch.load(pth, weights_only=True), load_file(safetensors)):
        assert same(weights, dict(expected))
        assert all(tensor.is_contiguous() for tensor in weights.values())


def test_metadata_says_what_the_weights_do_not(exported):
    content = exported[1].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])  # the same file for the same run
    with safe_open(exported[1], framework="pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "data": "digits",
            "backbone": "resnet18",
            "stem": "imagenet",
            "shortcuts": "strided",
            "image_size": "8",
            "mean": "0.0,0.0,0.0",
            "std": "1.0,1.0,1.0",
            "bt_kernels": __version__,
        }


def test_photographs_are_exported_with_their_normalisation(network, config, tmp_path):
    photographs = dataclasses.replace(config, data="imagefolder", data_dir="images")
    with safe_open(export_backbone(network.backbone, tmp_path, photographs)[1], framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["mean"], metadata["std"]) == ("0.485,0.456,0.406", "0.229,0.224,0.225")


def test_names_of_timms_make_files_in_the_folder(tmp_path):
    pth, safetensors = backbone_files(tmp_path, "timm:hf_hub/resnet18.a1")
    assert (pth.name, safetensors.name) == ("timm_hf_hub_resnet18.a1.pth", "timm_hf_hub_resnet18.a1.safetensors")


def test_nothing_is_left_of_an_export_that_fails(network, config, tmp_path):
    with pytest.raises(TrainerError, match="cannot write .*resnet18.pth"):
        export_backbone(network.backbone, tmp_path / "missing", config)
    assert list(tmp_path.iterdir()) == []


WRAPPERS = {
    "plain": lambda own, whole: own,
    "network": lambda own, whole: whole,
    "state_dict": lambda own, whole: {"state_dict": whole, "epoch": 3},
    "model": lambda own, whole: {"model": own},
    "distributed": lambda own, whole: {"model": {f"module.{name}": tensor for name, tensor in whole.items()}},
    "distributed_backbone": lambda own, whole: {f"module.{name}": tensor for name, tensor in own.items()},
    "compiled": lambda own, whole: {f"module._orig_mod.{name}": tensor for name, tensor in whole.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_loads_whatever_stands_around_the_weights(wrapper, network, tmp_path):
    own, whole = dict(network.backbone.state_dict()), dict(network.state_dict())
    torch.save(WRAPPERS[wrapper](own, whole), tmp_path / "file.pth")
    assert same(load_backbone_weights(tmp_path / "file.pth"), own)


def test_loads_safetensors_and_checkpoints(network, config, exported, tmp_path):
    own = dict(network.backbone.state_dict())
    assert same(load_backbone_weights(exported[1]), own)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, config.as_dict(), {"network": network.state_dict(), "step": 3})
    assert same(load_backbone_weights(checkpoints.path(3)), own)


def test_a_classifier_is_left_out(network, config):
    backbone, _ = build_backbone(config, 8)
    theirs = torchvision.models.resnet18().state_dict()
    load_into(backbone, theirs, "file.pth")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in backbone.state_dict().items())


def test_weights_that_do_not_fit_are_refused_and_change_nothing(network, config):
    backbone, _ = build_backbone(config, 8)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    weights = dict(network.backbone.state_dict())
    with pytest.raises(
        TrainerError, match="file.pth are another network's: conv1.weight missing; name the backbone"
    ):
        load_into(
            backbone, {name: tensor for name, tensor in weights.items() if name != "conv1.weight"}, "file.pth"
        )
    with pytest.raises(TrainerError, match=r"conv1.weight is 64x3x3x3, not 64x3x7x7; name .* --stem"):
        load_into(backbone, weights | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, "file.pth")
    deeper = torchvision.models.resnet34().state_dict()
    with pytest.raises(
        TrainerError, match=r"layer1.2.conv1.weight, layer1.2.bn1.weight, .* and \d+ more left over"
    ):
        load_into(backbone, deeper, "file.pth")
    assert same(dict(backbone.state_dict()), before)


def test_a_missing_file_is_said(tmp_path):
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(TrainerError, match=f"^there is no file of weights at .*{name}$"):
            load_backbone_weights(tmp_path / name)
    with pytest.raises(TrainerError, match="^cannot read .*: Is a directory$"):
        load_backbone_weights(tmp_path)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_one_sentence(kind, share, exported, tmp_path):
    content = exported[kind].read_bytes()
    path = tmp_path / exported[kind].name
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TrainerError, match=r"resnet18\.\w+ is damaged or no file of weights \(\w+\)$"):
        load_backbone_weights(path)


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
@pytest.mark.parametrize(
    "content", [b"epochs: 3\n", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\x80\x02]q\x00.", bytes(99)]
)
def test_a_foreign_file_is_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainerError, match="is damaged or no file of weights|holds no weights") as caught:
        load_backbone_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_files_without_weights_are_refused(tmp_path):
    for content in ({}, [], torch.zeros(3), {"epoch": 3}, {"model": 3}, {"training": {"step": 3}}):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(TrainerError, match="file.pth holds no weights of a network"):
            load_backbone_weights(tmp_path / "file.pth")
    save_file({}, tmp_path / "file.safetensors")
    with pytest.raises(TrainerError, match="file.safetensors holds no weights of a network"):
        load_backbone_weights(tmp_path / "file.safetensors")


def test_code_in_a_file_is_not_run(network, tmp_path):
    torch.save(network, tmp_path / "file.pth")  # a pickled module, whose class would have to be imported
    with pytest.raises(TrainerError, match=r"holds Python objects \(bt_kernels.*\), which are not loaded because"):
        load_backbone_weights(tmp_path / "file.pth")
