import pytest
import torch

from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")


@pytest.fixture
def tiny(tmp_path):
    """A ResNet-18 run of 4 steps in 2 epochs."""
    from bt_kernels.trainer.config import Config  # not above: where its packages are missing, this file is read

    return Config(
        run_dir=str(tmp_path / "run"),
        device="cpu",
        backbone="resnet18",
        projector="32-32",
        image_size=8,
        epochs=2,
        batch_size=600,
        checkpoint_every=1,
        statistics_every=2,
        knn_every=1,
        label_draws=2,
    )


@pytest.fixture
def arguments():
    """The command line of a configuration."""
    from bt_kernels.trainer.config.option import flag

    def build(config):
        command = []
        for name, value in config.as_dict().items():
            if isinstance(value, bool):
                command.append(flag(name) if value else flag(f"no_{name}"))
            else:
                command += [flag(name), ",".join(map(str, value)) if isinstance(value, list) else str(value)]
        return command

    return build


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
