"""The training step that is timed: the trainer's network and optimizer, random images, and a loss."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.shared.baselines import Loss
from benchmarks.shared.cell import DTYPES
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.precision import Precision

PAPER_WIDTH = 8192  # of the paper's projector
SEED = 0


@dataclass(frozen=True)
class StepSetting:
    """What the steps of one cell share. The projector's widths are hidden-hidden-D."""

    batch: int
    d: int
    hidden: int | None = None  # None: D, but at most the paper's 8192
    network: str = "resnet50"
    image_size: int = 224
    dtype: str = "float32"
    device: str = "cpu"
    channels_last: bool = True

    @property
    def projector(self) -> str:
        hidden = self.hidden or min(self.d, PAPER_WIDTH)
        return f"{hidden}-{hidden}-{self.d}"

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the embeddings: other than float32 by autocast."""
        return DTYPES[self.dtype]

    def as_dict(self) -> dict:
        return asdict(self)

    def config(self) -> Config:
        """The trainer's configuration: a ResNet as the authors have it, LARS, each view by itself."""
        return Config(
            data="synthetic",
            epoch_images=self.batch,
            batch_size=self.batch,
            backbone=self.network,
            stem="imagenet",
            shortcuts="strided",
            image_size=self.image_size,
            projector=self.projector,
            views="separately",
            optimizer="lars",
            learning_rate=1e-4,  # small: hundreds of steps on noise leave the network as it is
            learning_rate_biases=1e-4,
            precision=self.dtype,
            device=self.device,
            seed=SEED,
        )


class StepModel:
    """Network, optimizer and two views, on the setting's device.

    Raises:
        RuntimeError: they do not fit into its memory.
    """

    def __init__(self, setting: StepSetting) -> None:
        config, device = setting.config(), torch.device(setting.device)
        with device:  # a wide projector is drawn faster there, and never in the host's memory
            network = build_network(config)
        memory_format = torch.channels_last if setting.channels_last else torch.contiguous_format
        self.network = network.to(device, memory_format=memory_format).train()
        self.optimizer = build_optimizer(self.network, config)
        self.precision = Precision(setting.dtype, device)
        generator = torch.Generator(device).manual_seed(SEED)
        size = (setting.batch, 3, setting.image_size, setting.image_size)
        images = torch.randn(size, generator=generator, device=device)
        noise = torch.randn(size, generator=generator, device=device)
        self.views = [view.to(memory_format=memory_format) for view in (images, images.add(noise, alpha=0.5))]

    def embed(self) -> tuple[Tensor, Tensor]:
        """The embeddings of both views, (N, D) each."""
        with self.precision.autocast():
            return self.network(*self.views)

    def leaves(self) -> tuple[Tensor, Tensor]:
        """The embeddings, without a graph, as leaves that gradients are wanted of. The running averages move."""
        with torch.no_grad():
            z_a, z_b = self.embed()
        return z_a.requires_grad_(), z_b.requires_grad_()

    def step(self, loss_of: Loss) -> Tensor:
        """Forward, loss, backward and optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(*self.embed())
        loss.backward()
        self.optimizer.step()
        return loss.detach()
