"""The preset that the data mean where none is named, and what of a preset the machine decides."""

import json
from dataclasses import replace

import joblib
import pytest
import torch

from bt_kernels.trainer import cli, precision
from bt_kernels.trainer.cli import PREEMPTED, main
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.config.preset_values import PRESETS
from bt_kernels.trainer.config.presets import Given, build_parser, given_options, resumed_config
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.precision import lacking_instructions, settle_precision
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.run.signals import Stop
from bt_kernels.trainer.training.neighbours import settle_neighbours
from tests.support.trainer.image_data import write_folder

FOLDER = {"data": "imagefolder", "data_dir": "images"}


def configured(**given):
    return Config(**given_options(given).options)


@pytest.mark.parametrize(
    ("data", "preset", "side"),
    [
        ("digits", "small", 16),
        ("cifar10", "cifar", 32),
        ("cifar100", "cifar", 32),
        ("stl10", "photographs", 96),
        ("imagefolder", "photographs", 224),
        ("webdataset", "photographs", 224),
        ("synthetic", "photographs", 224),
    ],
)
def test_the_data_mean_a_preset(data, preset, side, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"data: {data}\n")
    for given in (given_options({"data": data}), given_options({"config": file})):
        assert (given.preset, given.options["image_size"], given.data) == (preset, side, data)
        own = {"data", "data_dir", "image_size", "workers"}
        assert {name: given.options[name] for name in PRESETS[preset].keys() - own} == {
            name: value for name, value in PRESETS[preset].items() if name not in own
        }
        assert given.assumed == [f"preset {preset}, that of --data {data}; --preset names another"]


def test_photographs_of_ones_own_have_the_recipes_rates_for_a_batch_of_256():
    config = configured(**FOLDER)
    assert (config.image_size, config.shortcuts, config.batch_size) == (224, "strided", 256)
    assert (config.optimizer, config.learning_rate, config.learning_rate_biases) == ("lars", 0.4, 0.0048)
    assert (config.gradient_divisor, config.weight_decay, config.lars_coefficient) == (32.0, 1e-6, 0.001)
    assert config.warmup_steps(steps_per_epoch=3) == 240  # of 1,000 images; at --epochs 2, too, it fits the run
    assert replace(config, epochs=2).warmup_steps(steps_per_epoch=3) == 0
    assert configured(**FOLDER) == configured(preset="photographs", data_dir="images")


def test_what_is_given_goes_before_the_implied_preset(tmp_path):
    config = configured(**FOLDER, image_size=64, workers=0, batch_size=32)
    assert (config.image_size, config.workers, config.batch_size, config.epochs) == (64, 0, 32, 800)
    file = tmp_path / "run.yaml"
    file.write_text("preset: imagenet\n")
    assert configured(config=file, **FOLDER).batch_size == 2048
    file.write_text(json.dumps(config.as_dict()))
    given = given_options({"config": file})
    assert Config(**given.options) == config and given.assumed == []  # nothing is left for a preset


def test_a_preset_of_other_images_is_taken_and_said():
    given = given_options({"preset": "small", **FOLDER})
    assert Config(**given.options).image_size == 16
    assert given.assumed == [
        "preset small, by its name",
        "images are seen at 16 x 16 pixels, as --preset small has it; usual for --data imagefolder is "
        "--image-size 224",
    ]
    assert len(given_options({"preset": "small", "image_size": 16, **FOLDER}).assumed) == 1
    assert len(given_options({"preset": "imagenet", "data": "cifar10", "data_dir": "d"}).assumed) == 2


def test_the_folder_of_a_presets_own_data_is_not_that_of_others():
    assert configured(preset="cifar", data="cifar100").data_dir == "data"
    with pytest.raises(TrainerError, match="--data imagefolder needs --data-dir"):
        configured(preset="cifar", data="imagefolder")


def test_there_are_not_more_workers_than_cores(monkeypatch):
    for cores, ranks, workers in ((1, 1, 1), (3, 1, 3), (64, 1, 8), (64, 16, 4), (2, 4, 1)):
        monkeypatch.setattr(joblib, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert configured(**FOLDER).workers == configured(preset="imagenet", data_dir="images").workers == workers
    assert configured(**FOLDER, workers=12).workers == 12
    assert configured(data="cifar10").workers == 1 and configured().workers == 0


@pytest.mark.parametrize("where", ["single", "file"])
def test_help_names_the_defaults_of_the_data(where, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("data: stl10\n")
    command = ["--data", "stl10"] if where == "single" else ["--config", str(file)]
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "the network sees (default: 96)" in text and "are those of photographs" in text
    build_parser(["--data", "--preset"])  # mistakes are for the parser itself to refuse


def test_a_resumed_run_is_not_contradicted_by_a_preset_that_nobody_named():
    saved = configured(preset="small", **FOLDER, checkpoint_every=7).as_dict()
    assert resumed_config(saved, given_options({**FOLDER, "data_dir": "moved"})) == Config(
        **{**FOLDER, "data_dir": "moved", "checkpoint_every": 7}
    )
    with pytest.raises(TrainerError, match="^--preset photographs sets --image-size 224"):
        resumed_config(saved, given_options({"preset": "photographs", **FOLDER}))


def test_a_run_that_is_resumed_on_another_machine_keeps_its_precision_and_shares_of_shards(monkeypatch):
    shards = {"preset": "imagenet", "data": "webdataset", "data_dir": "images", "shards": "*.tar"}
    saved = Config(**{**given_options(shards).options, "workers": 8, "precision": "float32"})
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert resumed_config(saved.as_dict(), given_options(shards)) == saved
    with pytest.raises(TrainerError, match="--precision 'bfloat16' contradicts"):
        resumed_config(saved.as_dict(), given_options({**shards, "precision": "bfloat16"}))
    with pytest.raises(TrainerError, match="--workers 4 contradicts"):
        resumed_config(saved.as_dict(), Given({"workers": 4}))


CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_instructions_are_those_of_the_device(monkeypatch):
    found = {"avx512_f": True}  # AVX-512 alone computes with neither
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert lacking_instructions("float32", CPU) is None
    for name in ("bfloat16", "float16"):
        assert lacking_instructions(name, CPU) == f"this CPU has no instructions for {name}"
    for name, capability in (("bfloat16", "avx512_bf16"), ("bfloat16", "bf16"), ("float16", "amx_fp16")):
        found[capability] = True
        assert lacking_instructions(name, CPU) is None
        del found[capability]
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert lacking_instructions("bfloat16", CPU) is None  # an older PyTorch cannot say
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert lacking_instructions("bfloat16", GPU) == "this GPU has no instructions for bfloat16"
    assert lacking_instructions("float16", GPU) is None


@pytest.fixture
def without_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})


def test_a_presets_bfloat16_is_float32_where_there_are_no_instructions_for_it(
    without_bfloat16, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "train", lambda state, folder: Stop.PREEMPTED)
    command = ["--preset", "imagenet", "--data", "synthetic", "--epoch-images", "4", "--batch-size", "4"]
    command += ["--backbone", "resnet18", "--projector", "8", "--image-size", "32", "--device", "cpu"]
    for name, extra, taken in (
        ("preset", [], "float32"),
        ("name", ["--precision", "bfloat16"], "bfloat16"),
    ):
        folder = RunFolder(tmp_path / name)
        assert main([*command, *extra, "--run-dir", str(folder.root)]) == PREEMPTED
        said = capsys.readouterr().err
        assert json.loads(folder.config.read_text())["precision"] == taken and f"precision='{taken}'" in said
        assert ("float32: this CPU has no instructions for bfloat16; --precision" in said) == (name == "preset")
        assert ("for bfloat16, and --precision float32 is likely much faster here" in said) == (name == "name")


def test_where_there_are_instructions_nothing_is_changed_or_said(monkeypatch):
    monkeypatch.setattr(precision, "lacking_instructions", lambda name, device: None)
    config = configured(preset="imagenet", data_dir="images", device="cpu")
    assert settle_precision(config, by_name=False) == (config, [])


def test_without_labelled_images_there_are_no_neighbours_unless_asked_for(tmp_path):
    config = configured(data="imagefolder", data_dir=str(tmp_path))
    assert settle_neighbours(config, by_name=True) == (config, [])
    settled, said = settle_neighbours(config, by_name=False)
    assert settled == replace(config, knn_every=0)
    assert said == [f"no nearest-neighbour accuracy: there is no folder {tmp_path / 'train'} with labelled images"]
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        (_, said) = settle_neighbours(config, by_name=False)
        assert said == [f"no nearest-neighbour accuracy: {tmp_path / part} has no folder for each class"]
        write_folder(tmp_path / part)
        (tmp_path / part / "class1b" / "below").mkdir(parents=True)
        (tmp_path / part / "class1b" / "notes.txt").write_text("none")
        (_, said) = settle_neighbours(config, by_name=False)
        empty = tmp_path / part / "class1b"
        assert said == [f"no nearest-neighbour accuracy: the class folder {empty} has no images"]
        write_folder(tmp_path / part / "class1b" / "below", classes=1)
    assert settle_neighbours(config, by_name=False) == (config, [])
    assert settle_neighbours(Config(), by_name=False) == (Config(), [])


@pytest.mark.long
def test_a_folder_of_images_trains_with_nothing_but_its_name(tmp_path, monkeypatch, capsys):
    """But for what a test has no time for: a small network and small images."""
    write_folder(tmp_path / "images" / "train", classes=2, images=150)
    monkeypatch.setattr(cli, "report", lambda state, folder: 0)
    command = ["--data", "imagefolder", "--data-dir", str(tmp_path / "images"), "--run-dir", str(tmp_path / "run")]
    short = [
        "--backbone",
        "resnet18",
        "--projector",
        "8",
        "--image-size",
        "16",
        "--epochs",
        "2",
        "--device",
        "cpu",
    ]
    assert main([*command, *short, "--precision", "float32"]) == 0
    said = capsys.readouterr().err
    assert "preset photographs, that of --data imagefolder" in said and "2 steps of 256 images" in said
    assert RunFolder(tmp_path / "run").checkpoints.steps() == [2]
