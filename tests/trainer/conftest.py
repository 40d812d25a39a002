import pytest
import torch

from bt_kernels.trainer.config import Config


@pytest.fixture
def tiny(tmp_path):
    """A ResNet-18 run of 4 steps in 2 epochs."""
    return Config(
        run_dir=str(tmp_path / "run"),
        device="cpu",
        backbone="resnet18",
        projector="32-32",
        image_size=8,
        epochs=2,
        batch_size=600,
        checkpoint_every=1,
        label_draws=2,
    )


@pytest.fixture
def arguments():
    """The command line of a configuration."""

    def build(config):
        return [
            part
            for name, value in config.as_dict().items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]

    return build


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
