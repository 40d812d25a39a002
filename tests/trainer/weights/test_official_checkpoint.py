import dataclasses

import pytest
import torch
from torch import nn

import __main__
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.weights.export import export_backbone
from bt_kernels.trainer.weights.load import read_backbone
from bt_kernels.trainer.weights.official import continue_from, is_official, read_official
from bt_kernels.trainer.weights.reading import read_content
from tests.support.trainer.official_step import OfficialModel, official_optimizer, official_step

pytestmark = pytest.mark.long

torchvision = import_torchvision()

WIDTH = 32


def new_network():
    """The network of the authors' code, small."""
    backbone = torchvision.models.resnet18(zero_init_residual=True)
    backbone.fc = nn.Identity()
    return OfficialModel(backbone, [512, WIDTH, WIDTH, WIDTH], batch_size=8)


class Wrapped(nn.Module):
    """Names the state as DistributedDataParallel does."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def exclude_bias_and_norm(parameter):
    return parameter.ndim == 1


def new_optimizer(network):
    """Their optimizer of an older version: the filters are functions, and so they are in its state."""
    optimizer = official_optimizer(network)
    for group in optimizer.param_groups:
        group["weight_decay_filter"] = group["lars_adaptation_filter"] = exclude_bias_and_norm
    return optimizer


@pytest.fixture(scope="module")
def theirs():
    """Their network and optimizer after two steps."""
    torch.manual_seed(1)
    network = new_network()
    optimizer = new_optimizer(network)
    for _ in range(2):
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 0.2, 0.0048
        official_step(network, optimizer, torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32))
    return network, optimizer


@pytest.fixture(scope="module")
def content(theirs):
    network, optimizer = theirs
    return {"epoch": 7, "model": Wrapped(network).state_dict(), "optimizer": optimizer.state_dict()}


@pytest.fixture(scope="module")
def saved(content, tmp_path_factory):
    """Their checkpoint, its filters pickled as functions of the script that was run."""
    path = tmp_path_factory.mktemp("official") / "checkpoint.pth"
    save(content, path)
    return path


def save(content, path, **options):
    module, exclude_bias_and_norm.__module__ = exclude_bias_and_norm.__module__, "__main__"
    __main__.exclude_bias_and_norm = exclude_bias_and_norm
    try:
        torch.save(content, path, **options)
    finally:
        exclude_bias_and_norm.__module__ = module
        del __main__.exclude_bias_and_norm


@pytest.fixture(scope="module")
def config():
    widths = f"{WIDTH}-{WIDTH}-{WIDTH}"
    return Config(backbone="resnet18", projector=widths, image_size=32, shortcuts="strided", optimizer="lars")


def test_weights_momenta_and_epoch_are_theirs(theirs, saved, config):
    their_network, their_optimizer = theirs
    network = build_network(config)
    optimizer = build_optimizer(network, config)
    assert is_official(saved, read_content(saved))
    assert continue_from(read_official(saved), network, optimizer) == 7
    expected = dict(their_network.state_dict())
    dropped = {name: expected.pop(name) for name in list(expected) if name.startswith("bn.")}
    assert len(dropped) == 3
    assert list(network.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    own, others = dict(network.named_parameters()), dict(their_network.named_parameters())
    for name, parameter in own.items():
        momentum = optimizer.state[parameter]["mu"]
        assert torch.equal(momentum, their_optimizer.state[others[name]]["mu"]) and momentum.any(), name
        assert momentum.stride() == parameter.stride()
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [config.learning_rate, config.learning_rate_biases]


def test_the_next_step_is_theirs(theirs, saved, config):
    """One more step from the checkpoint, with the same gradients, moves both networks alike."""
    network = build_network(config).double()
    optimizer = build_optimizer(network, dataclasses.replace(config, weight_decay=1e-6))
    continue_from(read_official(saved), network, optimizer)
    their_network = new_network().double()
    their_network.load_state_dict(theirs[0].state_dict())
    their_optimizer = new_optimizer(their_network)
    their_optimizer.load_state_dict(theirs[1].state_dict())
    generator = torch.Generator().manual_seed(2)
    for own, other in zip(network.parameters(), their_network.parameters(), strict=True):
        other.grad = torch.randn(other.shape, generator=generator, dtype=torch.float64)
        own.grad = other.grad.clone(memory_format=torch.preserve_format)
    for group, other in zip(optimizer.param_groups, their_optimizer.param_groups, strict=True):
        group["lr"] = other["lr"]
    optimizer.step()
    their_optimizer.step()
    for own, other in zip(network.parameters(), their_network.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-15)


def test_the_exported_backbone_is_theirs(theirs, saved, config, tmp_path):
    network = build_network(config)
    continue_from(read_official(saved), network, build_optimizer(network, config))
    pth, _ = export_backbone(network.backbone, tmp_path, config)
    torch.save(theirs[0].backbone.state_dict(), tmp_path / "theirs.pth")
    own, others = torch.load(pth, weights_only=True), torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert list(own) == list(others)
    assert all(torch.equal(own[name], others[name]) for name in own)


def test_their_files_are_weights_of_a_backbone(theirs, saved, config):
    expected = theirs[0].backbone.state_dict()
    weights = read_backbone(saved, build_network(config).backbone)
    assert list(weights.state) == list(expected)
    assert all(torch.equal(weights.state[name], expected[name]) for name in expected)
    assert weights.taken.startswith("120 tensors of the backbone (of model.backbone); unused: ")


@pytest.mark.parametrize("around", ["module._orig_mod.", "_orig_mod.module.", "_orig_mod.", ""])
def test_a_run_goes_on_from_theirs_whatever_was_around_the_network(around, theirs, content, config, tmp_path):
    model = {around + name: tensor for name, tensor in theirs[0].state_dict().items()}
    save({**content, "model": model}, tmp_path / "file.pth")
    network = build_network(config)
    continue_from(read_official(tmp_path / "file.pth"), network, build_optimizer(network, config))
    expected = theirs[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_a_parameter_without_a_gradient_has_no_momentum(content, config, tmp_path):
    state = {index: entry for index, entry in content["optimizer"]["state"].items() if index != 0}
    save({**content, "optimizer": {**content["optimizer"], "state": state}}, tmp_path / "file.pth")
    network = build_network(config)
    optimizer = build_optimizer(network, config)
    continue_from(read_official(tmp_path / "file.pth"), network, optimizer)
    parameters = list(network.parameters())
    assert parameters[0] not in optimizer.state
    assert all(p in optimizer.state for p in parameters[1:])


def test_what_does_not_fit_is_refused_and_nothing_is_changed(saved, config):
    checkpoint = read_official(saved)
    for changed, sentence in (
        ({"shortcuts": "pooled"}, "strided shortcuts; use --shortcuts strided"),
        ({"projector": "32-32"}, "is 32-32-32, not 32-32; use --projector 32-32-32"),
        ({"backbone": "resnet34"}, r"one \(backbone.layer1.2.conv1.weight, .* more differ\); name .* --backbone"),
        ({"stem": "small"}, r"another one \(backbone.conv1.weight differ\)"),
        ({"optimizer": "sgd"}, "momenta of LARS; use --optimizer lars"),
    ):
        other = dataclasses.replace(config, **changed)
        network = build_network(other)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        optimizer = build_optimizer(network, other)
        with pytest.raises(TrainerError, match=sentence):
            continue_from(checkpoint, network, optimizer)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert not optimizer.state


def test_momenta_of_other_parameters_are_refused(content, config, tmp_path):
    groups = content["optimizer"]["param_groups"]
    swapped = [{**groups[0], "params": groups[1]["params"]}, {**groups[1], "params": groups[0]["params"]}]
    save({**content, "optimizer": {**content["optimizer"], "param_groups": swapped}}, tmp_path / "file.pth")
    network = build_network(config)
    with pytest.raises(TrainerError, match="groups are not the network's weights and biases"):
        continue_from(read_official(tmp_path / "file.pth"), network, build_optimizer(network, config))


def test_incomplete_files_are_refused(content, tmp_path):
    path = tmp_path / "file.pth"
    model = content["model"]
    for changed, sentence in (
        ({"epoch": "7"}, "its epoch is '7'"),
        ({"optimizer": {"state": {}}}, "its optimizer's state is no state_dict of LARS"),
        ({"optimizer": None}, "its optimizer's state is no state_dict of LARS"),
        ({"model": model | {"module.bn.running_var": torch.ones(3)}}, "are not those of its projector"),
        (
            {"model": {name: tensor for name, tensor in model.items() if name != "module.bn.running_var"}},
            "are not those of its projector",
        ),
    ):
        save(content | changed, path)
        with pytest.raises(TrainerError, match=f"no whole checkpoint of the authors' code: .*{sentence}"):
            read_official(path)


def test_other_files_are_not_official(content, config, tmp_path):
    path = tmp_path / "file.pth"
    for other in ({"model": content["model"]}, {}, content | {"model": {}}, build_network(config).state_dict()):
        save(other, path)
        assert not is_official(path, read_content(path))
        with pytest.raises(TrainerError, match="file.pth is no checkpoint of the authors' code"):
            read_official(path)
    with pytest.raises(TrainerError, match="there is no file of weights"):
        read_official(tmp_path / "missing.pth")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(TrainerError, match="is damaged or no file of weights"):
        read_official(path)


def test_files_of_the_old_format_are_read(content, tmp_path):
    save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=False)
    assert read_official(tmp_path / "file.pth").epoch == 7
