import dataclasses
import json
import signal

import pytest
import torch
from safetensors.torch import save_file

from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.checkpoint import Checkpoints
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.torchvision_import import import_torchvision
from bt_kernels.trainer.training.initial_weights import begin_with
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.weights.export import export_backbone
from tests.support.small_weights import same
from tests.support.trainer import PROGRAMS
from tests.support.trainer.torchrun import torchrun

pytestmark = pytest.mark.long

torchvision = import_torchvision()

BEGIN = str(PROGRAMS / "begin.py")


@pytest.fixture
def trained(tiny):
    """A network that has other weights than a new run's."""
    return build_network(dataclasses.replace(tiny, seed=7))


@pytest.fixture
def tv_file(tmp_path):
    """Torchvision's ResNet-18, with its classifier."""
    torch.manual_seed(3)
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def check_begun(state, backbone_state):
    """The backbone is the file's, everything else that of a new run."""
    new = build_network(state.config).state_dict()
    for name, tensor in state.network.state_dict().items():
        part, _, own = name.partition(".")
        assert torch.equal(tensor, backbone_state[own] if part == "backbone" else new[name]), name
    assert state.step == 0 and not state.optimizer.state


def test_a_run_begins_with_a_file_and_goes_on_without_it(tiny, arguments, tv_file, monkeypatch, capsys):
    strided = dataclasses.replace(tiny, shortcuts="strided", initial_weights=str(tv_file), knn_every=0)
    folder, expected = RunFolder(tv_file.parent / "run"), torch.load(tv_file)
    train_step = Pretraining.train_step

    def first(state, views):
        if state.step == 0:
            check_begun(state, expected)
        signal.raise_signal(signal.SIGINT)
        return train_step(state, views)

    monkeypatch.setattr(Pretraining, "train_step", first)
    assert main(arguments(strided)) == INTERRUPTED
    said = capsys.readouterr().err
    assert (
        f"\ninitial weights {tv_file}: 120 tensors of the backbone; unused: 2 (fc.weight, fc.bias); the projector "
        "begins anew\n"
    ) in said
    assert "its shortcuts" not in said
    assert json.loads(folder.config.read_text())["initial_weights"] == str(tv_file)

    tv_file.unlink()
    resume = ["--run-dir", str(folder.root), "--resume"]
    assert main([*resume, "--initial-weights", "/other.pth"]) == 1
    assert (
        f"error: --initial-weights '/other.pth' contradicts the checkpoint, which was made with '{tv_file}'"
    ) in capsys.readouterr().err
    monkeypatch.chdir(tv_file.parent)
    assert main([*resume, "--initial-weights", tv_file.name]) == INTERRUPTED
    assert main(resume) == INTERRUPTED
    assert "initial weights" not in capsys.readouterr().err and folder.checkpoints.steps() == [1, 2, 3]


def test_a_run_begins_with_exports_and_checkpoints(tiny, trained, tmp_path):
    own = trained.backbone.state_dict()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, tiny.as_dict(), {"network": trained.state_dict(), "step": 5})
    pth, safetensors = export_backbone(trained.backbone, tmp_path, tiny)
    for path in (checkpoints.path(5), pth, safetensors):
        state = Pretraining(tiny, Processes())
        said = begin_with(path, state)
        assert len(said) == 1 and said[0].startswith(f"initial weights {path}: 120 tensors of the backbone")
        check_begun(state, own)


def test_a_compiled_network_begins_so_too(tiny, trained, tmp_path):
    pth, _ = export_backbone(trained.backbone, tmp_path, tiny)
    state = Pretraining(dataclasses.replace(tiny, compile=True), Processes())
    begin_with(pth, state)
    check_begun(state, trained.backbone.state_dict())


def test_what_the_file_says_that_makes_other_features_is_refused(tiny, trained, tmp_path):
    pth, safetensors = export_backbone(trained.backbone, tmp_path, tiny)
    for changed, sentence in (
        (
            {"shortcuts": "strided"},
            "--shortcuts strided is not that of {}, 'pooled', and makes other features of its ",
        ),
        (
            {"stem": "small"},
            "--stem small is not that of {}, 'imagenet', and makes other features of its weights; use ",
        ),
    ):
        state = Pretraining(dataclasses.replace(tiny, **changed), Processes())
        before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
        for path in (pth, safetensors):
            with pytest.raises(TrainerError, match=sentence.format(path)):
                begin_with(path, state)
        assert all(torch.equal(tensor, before[name]) for name, tensor in state.network.state_dict().items())


def test_what_else_differs_is_said(tiny, trained, tv_file, tmp_path):
    metadata = {
        "backbone": "timm:resnet18", "stem": "imagenet", "shortcuts": "pooled", "image_size": "224",
        "mean": "0.485,0.456,0.406", "std": "1.0,1.0,1.0", "seed": "none",
    }  # fmt: skip
    state = {name: tensor.contiguous() for name, tensor in trained.backbone.state_dict().items()}
    save_file(state, path := tmp_path / "file.safetensors", metadata)
    assert begin_with(path, Pretraining(tiny, Processes()))[1:] == [
        f"{path} was trained with backbone 'timm:resnet18', and this run has resnet18",
        f"{path} was trained with image size 224, and this run has 8",
        f"{path} was trained with mean '0.485,0.456,0.406', and this run has 0.0,0.0,0.0",
    ]
    (said,) = begin_with(tv_file, Pretraining(tiny, Processes()))[1:]
    assert said.startswith(
        f"{tv_file} does not say what its shortcuts are, and this run's are pooled; with others "
    )


def test_weights_do_not_fit_or_are_not_there(tiny, arguments, tv_file, capsys):
    for changed, sentence in (
        ({"backbone": "resnet34"}, "are another network's: layer1.2.conv1.weight, "),
        ({"initial_weights": "/nowhere.pth"}, "there is no file of weights at /nowhere.pth"),
        ({"initial_weights": "/"}, "cannot read /: Is a directory"),
    ):
        config = dataclasses.replace(tiny, **{"initial_weights": str(tv_file), "shortcuts": "strided"} | changed)
        assert main(arguments(config)) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ") and sentence in last


def test_a_run_begins_with_one_thing(tiny, arguments, tv_file, capsys):
    config = dataclasses.replace(tiny, initial_weights=str(tv_file))
    assert main([*arguments(config), "--continue-from", "other.pt"]) == 1
    assert capsys.readouterr().err == (
        "error: --continue-from begins with the weights of another run and --initial-weights with those of a "
        "file; give one of them\n"
    )
    assert not RunFolder(tv_file.parent / "run").root.exists()


def test_weights_alone_are_nothing_to_continue_from(tiny, arguments, trained, tv_file, tmp_path, capsys):
    for path in (tv_file, *export_backbone(trained.backbone, tmp_path, tiny)):
        assert main([*arguments(tiny), "--continue-from", str(path)]) == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"error: {path} holds weights and not the state of a run; use --initial-weights {path} to begin with "
            "them"
        )


def test_all_ranks_begin_with_them(tiny, trained, tmp_path):
    pth, _ = export_backbone(trained.backbone, tmp_path, tiny)
    finished = torchrun(BEGIN, str(pth), str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    for rank in (0, 1):
        for state in torch.load(tmp_path / f"{rank}.pt").values():
            assert same(state, dict(trained.backbone.state_dict()))


def test_a_checkpoint_with_something_else_in_a_state_s_place_is_refused(tiny):
    state = Pretraining(tiny, Processes())
    training = state.state_dict()
    for optimizer in ({**training["optimizer"], "state": torch.zeros(3)}, []):
        with pytest.raises(TrainerError, match="the checkpoint does not fit this configuration: "):
            state.load_state_dict({**training, "optimizer": optimizer})
