import copy

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from bt_kernels.trainer.config.parts import BackboneOptions
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.weights.load import read_backbone
from tests.support.small_weights import behind, same, small_backbone, state_of

torchvision = import_torchvision()


class Network(nn.Module):
    """A backbone with something behind it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projector = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


@pytest.fixture(scope="module")
def backbone():
    """What the weights are for."""
    return small_backbone(seed=0)


@pytest.fixture(scope="module")
def trained():
    """What they are of."""
    return small_backbone(seed=1)


@pytest.fixture(scope="module")
def own(trained):
    return state_of(trained)


@pytest.fixture(scope="module")
def other():
    """Weights of a second backbone in the file."""
    return state_of(small_backbone(seed=2))


@pytest.fixture
def read(backbone, tmp_path):
    """What is read from a file of the given content."""

    def save_and_read(content, into=backbone):
        torch.save(content, tmp_path / "file.pth")
        return read_backbone(tmp_path / "file.pth", into)

    return save_and_read


def inside(wrap):
    """The network with its backbone wrapped."""

    def build(network):
        network.backbone = wrap(network.backbone)
        return network

    return build


def deep(network):
    network.backbone.layer1 = torch.compile(nn.DataParallel(network.backbone.layer1))
    network.backbone.layer2[0] = checkpoint_wrapper(torch.compile(network.backbone.layer2[0]))
    return nn.DataParallel(network)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled DataParallel": lambda network: torch.compile(nn.DataParallel(network)),
    "DataParallel, compiled inside": lambda network: nn.DataParallel(torch.compile(network)),
    "compiled backbone": inside(torch.compile),
    "DataParallel backbone": inside(nn.DataParallel),
    "compiled, DataParallel backbone": lambda network: torch.compile(inside(nn.DataParallel)(network)),
    "layers": deep,
    "average": AveragedModel,
    "compiled in place": lambda network: (network.compile(), network)[1],
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_is_wrapped_around_a_network_or_its_parts_does_not_matter(wrap, trained, own, read):
    assert same(read(wrap(Network(copy.deepcopy(trained))).state_dict()).state, own)


def test_nor_what_is_wrapped_around_parts_of_what_they_are_for(own, backbone, read):
    into = copy.deepcopy(backbone)
    into.layer1 = torch.compile(nn.DataParallel(into.layer1))
    into.compile()
    into.load_state_dict(read(own, into).state)
    assert torch.equal(into.layer1.module[0].conv1.weight, own["layer1.0.conv1.weight"])
    assert list(map(torch.sum, into.state_dict().values())) == list(map(torch.sum, own.values()))


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.module.", "module._orig_mod.", "backbone._orig_mod.", "backbone.module.", "module.module.",
        "_fsdp_wrapped_module.", "_fsdp_wrapped_module._fpw_module.", "_forward_module.model.",
        "_orig_mod._fsdp_wrapped_module.backbone._checkpoint_wrapped_module.",
    ],
)  # fmt: skip
def test_wrappers_are_passed_over_in_any_order(prefix, own, read):
    assert same(read(behind(prefix, own)).state, own)


def test_names_that_only_wrappers_tell_apart_are_refused_if_they_differ(own, other, read):
    again = {"module.conv1.weight": own["conv1.weight"]}
    assert same(read(own | again).state, own)
    again = {"module.conv1.weight": other["conv1.weight"]}
    sentence = "^conv1.weight and module.conv1.weight in .*file.pth are both conv1.weight, and they differ$"
    with pytest.raises(TrainerError, match=sentence):
        read(own | again)
    with pytest.raises(
        TrainerError, match="model.conv1.weight and model.conv1.weight in .* are both conv1.weight, an"
    ):
        read({"model": own, "model.conv1.weight": other["conv1.weight"]})


HEAD = {"0.weight": torch.zeros(2, 2), "2.bias": torch.zeros(2)}

# File contents of projects, of what they train and of a second backbone, and which one is to be taken.
CHECKPOINTS = {
    "torchvision": (lambda a, b: a | behind("fc.", {"weight": torch.zeros(2), "bias": torch.zeros(2)}), ""),
    "timm": (lambda a, b: {"state_dict": b, "state_dict_ema": a, "arch": "resnet18"}, "state_dict_ema"),
    "authors": (lambda a, b: {"model": behind("module.backbone.", a), "epoch": 3}, "model.backbone"),
    "Lightning": (lambda a, b: {"state_dict": behind("model.backbone.", a)}, "state_dict.model.backbone"),
    "MoCo": (
        lambda a, b: {
            "state_dict": behind("module.encoder_k.", b)
            | behind("module.encoder_q.", a | behind("fc.", HEAD))
            | {"module.queue": torch.zeros(2, 2), "module.queue_ptr": torch.zeros(1)}
        },
        "state_dict.encoder_q",
    ),
    "MoCo v3": (
        lambda a, b: {"state_dict": behind("module.momentum_encoder.", b) | behind("module.base_encoder.", a)},
        "state_dict.base_encoder",
    ),
    "DINO": (
        lambda a, b: {
            "student": behind("module.backbone.", b) | behind("module.head.", HEAD),
            "teacher": behind("backbone.", a) | behind("head.", HEAD),
        },
        "teacher.backbone",
    ),
    "BYOL": (
        lambda a, b: behind("target_encoder.net.", b) | behind("online_encoder.net.", a),
        "online_encoder.net",
    ),
    "SwAV": (
        lambda a, b: behind("module.", a | behind("projection_head.", HEAD) | behind("prototypes.", HEAD)),
        "",
    ),
    "SimCLR": (
        lambda a, b: {"state_dict": behind("convnet.", a) | behind("projector.", HEAD)},
        "state_dict.convnet",
    ),
    "solo-learn": (
        lambda a, b: {
            "state_dict": behind("momentum_backbone.", b) | behind("backbone.", a) | behind("projector.", HEAD)
        },
        "state_dict.backbone",
    ),
    "mmselfsup": (
        lambda a, b: {
            "state_dict": behind("backbone.", a) | behind("encoder_k.0.", b) | behind("encoder_q.0.", a)
        },
        "state_dict.backbone",
    ),
    "VISSL": (
        lambda a, b: {
            "classy_state_dict": {
                "base_model": {
                    "model": {"trunk": behind("_feature_blocks.", a), "heads": {"0.clf.weight": torch.zeros(2)}}
                }
            }
        },
        "classy_state_dict.base_model.model.trunk._feature_blocks",
    ),
    "ResNets for CIFAR": (
        lambda a, b: {
            "net": behind(
                "module.", {name.replace("downsample", "shortcut"): tensor for name, tensor in a.items()}
            )
            | behind("module.linear.", HEAD)
        },
        "net",
    ),
    "itself": (lambda a, b: {"model": a, "itself": None}, "model"),
}


@pytest.mark.parametrize(("content", "prefix"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints_of_the_field(content, prefix, own, other, read):
    content = content(own, other)
    if "itself" in content:
        content["itself"] = content
    weights = read(content)
    assert same(weights.state, own)
    assert weights.taken.startswith("120 tensors of the backbone" + (f" (of {prefix})" if prefix else ""))


def test_what_was_taken_and_what_not_is_said(own, other, read):
    content, _ = CHECKPOINTS["MoCo"]
    assert read(content(own, other)).taken == (
        "120 tensors of the backbone (of state_dict.encoder_q), not those of state_dict.encoder_k; unused: 4 "
        "(state_dict.module.encoder_q.fc, state_dict.module.queue, state_dict.module.queue_ptr)"
    )


def test_two_backbones_that_nothing_tells_apart_are_refused(own, other, read):
    with pytest.raises(
        TrainerError, match="two such backbones, left and right, and nothing says which one is meant"
    ):
        read(behind("left.", own) | behind("right.", other))
    assert same(read(behind("left.", own) | behind("right.", own)).state, own)
    # One that does not fit is none.
    del other["conv1.weight"]
    assert same(read(behind("right.", other) | behind("left.", own)).state, own)
    other["conv1.weight"] = own["conv1.weight"]


def test_children_in_a_sequential_are_known_by_their_number(trained, own, read):
    numbered = nn.Sequential(*list(trained.children())[:-1])
    assert "4.0.conv1.weight" in numbered.state_dict()
    weights = read({"state_dict": behind("model.backbone.", numbered.state_dict()) | behind("model.head.", HEAD)})
    assert same(weights.state, own) and "(of state_dict.model.backbone)" in weights.taken
    lightly = [child for child in trained.children() if child.state_dict()]  # its ResNets have no others
    numbered = nn.Sequential(*lightly, nn.AdaptiveAvgPool2d(1)).state_dict()
    assert "2.0.conv1.weight" in numbered
    numbered = {name.replace("downsample", "shortcut"): tensor for name, tensor in numbered.items()}
    assert same(read(behind("backbone.", numbered)).state, own)


def test_a_module_that_is_called_as_a_wrapper_or_a_prefix_is_found(read):
    """The model's own names count, so a part of it may be called module, model or teacher."""

    def build(seed):
        torch.manual_seed(seed)
        parts = {"module": nn.Linear(2, 2), "model": nn.Linear(2, 2), "student": nn.Linear(2, 2)}
        return nn.ModuleDict(parts | {"fc": nn.Identity()})

    into, trained = build(0), build(1)
    for prefix in ("", "module.", "model.", "student.model."):
        assert same(read(behind(prefix, trained.state_dict()), into).state, dict(trained.state_dict()))


def test_counts_that_old_files_lack_are_the_backbones_own_and_nothing_else_is(own, backbone, read):
    counts = {
        name: tensor for name, tensor in backbone.state_dict().items() if name.endswith("num_batches_tracked")
    }
    old = {name: tensor for name, tensor in own.items() if name not in counts}
    weights = read(old)
    assert len(counts) == 20 and same(weights.state, own | counts)
    assert weights.taken == "100 tensors of the backbone; not in it: 20 batch norms' num_batches_tracked"
    old.pop("bn1.running_mean")
    with pytest.raises(TrainerError, match="bn1.running_mean missing; give all of them"):
        read(old)


def test_only_heads_may_be_left_over(own, read):
    for name in ("fc_norm.weight", "layer5.0.conv1.weight", "layer4.2.conv1.weight", "neck.weight"):
        with pytest.raises(TrainerError, match=f"{name} left over; name the backbone"):
            read({"model": own | {name: torch.zeros(2)}})


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v2", "googlenet", "timm:convnext_atto"])
def test_a_model_s_own_file_is_read_without_its_classifiers(name, read):
    timm = pytest.importorskip("timm") if name.startswith("timm") else None
    into, _ = build_backbone(BackboneOptions(backbone=name, shortcuts="strided"), 75)
    model = (
        timm.create_model("convnext_atto")
        if timm
        else torchvision.models.get_model(name, **({"init_weights": False} if name == "googlenet" else {}))
    )
    weights = read(model.state_dict(), into)
    assert weights.state.keys() == into.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in weights.state.items())
