"""Random images that are drawn once: the throughput without reading, decoding or augmenting."""

from __future__ import annotations

from collections.abc import Generator

import torch

from bt_kernels.trainer.augmentation.seeds import mixed_seed
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.identity import identity_of
from bt_kernels.trainer.data.views import Stateless, Views, check_batch
from bt_kernels.trainer.parallel.processes import Processes


class SyntheticViews(Stateless):
    """The same batch of normally distributed values in every step; the two views of it differ.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are to be.

    Raises:
        TrainerError: the batch is larger than an epoch, or too small for so many processes.
    """

    def __init__(self, config: Config, processes: Processes, device: torch.device) -> None:
        check_batch(config, config.epoch_images, processes)
        self.images = config.epoch_images
        self.steps_per_epoch = self.images // config.batch_size
        self.description = f"{self.images} synthetic images"
        self.identity = identity_of([config.data], self.images)
        own = processes.own_rows(config.batch_size)
        # On the device: the batch of a large run would take seconds on the CPU, where nothing else needs it.
        generator = torch.Generator(device).manual_seed(mixed_seed(config.seed, processes.rank))
        shape = (2, own.stop - own.start, 3, config.image_size, config.image_size)
        self._views = Views(*torch.randn(shape, generator=generator, device=device))

    def views(self, first_step: int) -> Generator[Views, None, None]:
        while True:
            yield self._views
