import argparse
import dataclasses
import json
import os
import warnings

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
from bt_kernels.trainer.weights.load import read_backbone

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


@pytest.fixture(scope="module")
def backbone(config):
    """Another one, that nothing has changed."""
    return build_backbone(config, 8)[0]


def test_loads_the_exports_and_checkpoints(network, config, exported, backbone, tmp_path):
    own = dict(network.backbone.state_dict())
    for path in exported:
        weights = read_backbone(path, backbone)
        assert same(weights.state, own) and weights.taken == "120 tensors of the backbone"
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, config.as_dict(), {"network": network.state_dict(), "step": 3})
    weights = read_backbone(checkpoints.path(3), backbone)
    assert same(weights.state, own)
    assert weights.taken == (
        "120 tensors of the backbone (of training.network.backbone); unused: 7 (training.network.projector)"
    )


def test_a_file_is_what_it_holds_and_not_what_it_is_called(exported, backbone, tmp_path):
    for path, name in zip(exported, ("a.safetensors", "b.pth"), strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert same(read_backbone(tmp_path / name, backbone).state, read_backbone(path, backbone).state)


@pytest.fixture
def refused(backbone, tmp_path):
    """The sentence that a file of the given content is refused with; the backbone is as it was."""

    def refuse(content):
        before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
        path = tmp_path / "file.pth"
        path.unlink(missing_ok=True)
        torch.save(content, path)
        with warnings.catch_warnings(), pytest.raises(TrainerError) as caught:
            warnings.simplefilter("error")
            read_backbone(path, backbone)
        assert same(dict(backbone.state_dict()), before)
        sentence = str(caught.value)
        assert "\n" not in sentence and str(path) in sentence
        return sentence.replace(str(tmp_path), "...")

    return refuse


def test_weights_that_do_not_fit_are_refused_with_what_is_to_be_done(network, refused):
    weights = dict(network.backbone.state_dict())
    other = "the weights in .../file.pth are another network's: "
    lacking = {name: tensor for name, tensor in weights.items() if name != "conv1.weight"}
    assert refused({"state_dict": lacking}) == (
        "the weights in .../file.pth under state_dict are another network's: conv1.weight missing; give all of "
        "them, or name the backbone that they are of by --backbone"
    )
    assert refused(weights | {"conv1.weight": torch.zeros(64, 3, 3, 3)}) == (
        f"{other}conv1.weight is 64x3x3x3, not 64x3x7x7; use --stem small"
    )
    assert refused(torchvision.models.resnet34().state_dict()) == (
        f"{other}layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias and 93 more left over; "
        "name the backbone that they are of by --backbone"
    )
    deeper = refused(torchvision.models.resnet50().state_dict())
    assert deeper.startswith(f"{other}layer1.0.conv3.weight, ")
    assert deeper.endswith(
        "layer1.0.conv1.weight is 64x64x1x1, not 64x64x3x3; name the backbone that they are of by --backbone"
    )
    assert refused({"patch_embed.proj.weight": torch.zeros(2), "blocks.0.norm1.weight": torch.zeros(2)}) == (
        ".../file.pth holds no such backbone: looked for conv1.weight, bn1.weight, bn1.bias and 117 more, at the "
        "end of any name, and found patch_embed.proj.weight, blocks.0.norm1.weight; give weights of this "
        "--backbone, or name the one they are of"
    )


def test_tensors_that_are_no_weights_are_refused(network, refused):
    weights = dict(network.backbone.state_dict())
    name, tensor = "layer1.0.bn1.weight", weights["layer1.0.bn1.weight"]
    for strange in (tensor.to_sparse(), tensor.to("meta")):
        assert refused(weights | {name: strange}) == (
            f"{name} in .../file.pth is sparse, quantized or without values; save plain tensors"
        )
    assert f"{name} is 64 of int32, not 64" in refused(weights | {name: tensor.int()})
    assert f"{name} is 64 of complex64, not 64" in refused(weights | {name: tensor.cfloat()})
    assert refused(weights | {name: tensor / 0}) == (
        f"{name} in .../file.pth holds values that are not finite; give weights from before that"
    )


def test_a_missing_file_is_said(backbone, tmp_path):
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(TrainerError, match=f"^there is no file of weights at .*{name}$"):
            read_backbone(tmp_path / name, backbone)
    with pytest.raises(TrainerError, match="^cannot read .*: Is a directory$"):
        read_backbone(tmp_path, backbone)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_one_sentence(kind, share, exported, backbone, tmp_path):
    content = exported[kind].read_bytes()
    path = tmp_path / exported[kind].name
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TrainerError, match=r"resnet18\.\w+ is damaged or no file of weights \(\w+\)$"):
        read_backbone(path, backbone)


def test_a_flipped_bit_is_seen(exported, backbone, tmp_path):
    """PyTorch does not look at the checksums that it writes."""
    content = bytearray(exported[0].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(TrainerError, match=r"file.pth is damaged or no file of weights \(BadZipFile\)$"):
        read_backbone(tmp_path / "file.pth", backbone)


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"epochs: 3\n", "damaged or no file of weights"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "damaged or no file of weights"),
        (bytes(99), "damaged or no file of weights"),
        (b"\x80\x02]q\x00.", "holds no weights|damaged or no file of weights"),
        (b"", "is empty$"),
        (b"\n<!DOCTYPE html>\n", "is no file of weights but a web page; download the file itself$"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer of Git LFS; fetch the file itself by git lfs",
        ),
        (b"\x1f\x8b\x08\x00", "compressed by gzip; unpack it first$"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it; give PyTorch's weights$"),
    ],
)
def test_a_foreign_file_is_one_sentence(name, content, sentence, backbone, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainerError, match=sentence) as caught:
        read_backbone(tmp_path / name, backbone)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_program_is_one_sentence_without_a_warning(backbone, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "file.pth"))
    with warnings.catch_warnings(), pytest.raises(TrainerError, match="TorchScript program; save the module's st"):
        warnings.simplefilter("error")
        read_backbone(tmp_path / "file.pth", backbone)


def test_files_without_weights_are_refused(refused, backbone, tmp_path):
    for content in ({}, [], torch.zeros(3), {"epoch": 3}, {"model": 3}, {"training": {"step": 3}}):
        assert refused(content).startswith(".../file.pth holds no weights of a network")
    save_file({}, tmp_path / "file.safetensors")
    with pytest.raises(TrainerError, match="file.safetensors holds no weights of a network"):
        read_backbone(tmp_path / "file.safetensors", backbone)


class Hyperparameters(dict):
    """As Lightning's AttributeDict."""


class Stages(list):
    """A kind of list."""


class Blocked:
    """Of a module that PyTorch never lets through."""

    def __reduce__(self):
        return (os.system, ("false",))


class Forbidden:
    """Its code must not run."""

    def __setstate__(self, state):
        raise AssertionError

    def __reduce__(self):
        return (Forbidden, (), {"state": 1})


@pytest.mark.parametrize("old_format", [False, True])
def test_objects_beside_the_weights_are_passed_over(old_format, network, backbone, tmp_path):
    own = dict(network.backbone.state_dict())
    content = {
        "state_dict": own,
        "args": argparse.Namespace(lr=0.1, output=tmp_path),
        "hyper_parameters": Hyperparameters(depth=3),
        "callbacks": {"a": Forbidden(), "b": eval, "c": Stages([1])},
    }
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=not old_format)
    assert same(read_backbone(tmp_path / "file.pth", backbone).state, own)


def test_code_in_a_file_is_not_run(network, refused):
    assert "holds Python objects (posix.system), which are not loaded" in refused({"model": Blocked()})
    for content in (network, {"model": network, "epoch": 3}):  # a pickled module, whose class would be imported
        assert refused(content) == (
            ".../file.pth holds Python objects (bt_kernels.trainer.model.network.BarlowTwinsNetwork), which are "
            "not loaded because they can run code; save the model's state_dict() instead"
        )
