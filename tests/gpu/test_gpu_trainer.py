"""The trainer on a GPU: every precision, exact accumulation, photographs augmented on the device, and resuming."""

import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from bt_kernels.trainer.augmentation.photometric import draw_photometry
from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.training.pretraining import Pretraining

pytestmark = pytest.mark.backends("cuda", "triton")
SMALL = [
    "--preset", "imagenet", "--device", "cuda", "--backbone", "resnet18", "--image-size", "32", "--projector",
    "64-64-64", "--batch-size", "16", "--epochs", "2", "--warmup", "1", "--workers", "1", "--knn-every", "1",
    "--statistics-every", "1", "--augment-on", "device",
]  # fmt: skip


@pytest.fixture
def images(tmp_path):
    for part in ("train", "val"):
        for number in range(34):
            folder = tmp_path / "images" / part / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "options",
    [
        "--precision float32",
        "--precision bfloat16 --accumulate 2",
        "--precision float16",
        "--precision bfloat16 --compile",
    ],
)
def test_run_stops_and_goes_on_to_its_end(images, tmp_path, monkeypatch, options):
    command = [*SMALL, *options.split(), "--data-dir", str(images), "--resume", "auto"]
    command += ["--run-dir", str(tmp_path / "run")]
    folder = RunFolder(tmp_path / "run")
    train_step = Pretraining.train_step

    def interrupted(state, views):
        assert views.a.is_cuda
        if state.step == 1:
            signal.raise_signal(signal.SIGINT)
        return train_step(state, views)

    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "train_step", interrupted)
        assert main(command) == INTERRUPTED
    assert folder.checkpoints.steps() == [2]
    assert main(command) == 0
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(np.isfinite(line["loss"]) and line["effective_rank"] >= 1 for line in lines)


def test_photometry_on_the_gpu_is_that_of_the_cpu():
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for view in (0, 1):
        photometry = draw_photometry(Config(), view, 8, (0, 1))
        torch.testing.assert_close(photometry(images.cuda()).cpu(), photometry(images), rtol=1e-4, atol=1e-5)
