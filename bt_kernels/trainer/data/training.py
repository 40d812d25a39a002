"""Open the data set of a pre-training run."""

from __future__ import annotations

import torch

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.digits import DigitViews
from bt_kernels.trainer.data.images import open_images
from bt_kernels.trainer.data.loader import MapViews
from bt_kernels.trainer.data.shard_views import ShardViews
from bt_kernels.trainer.data.synthetic import SyntheticViews
from bt_kernels.trainer.data.views import TrainingData
from bt_kernels.trainer.parallel.processes import Processes


def open_training_data(config: Config, processes: Processes, device: torch.device) -> TrainingData:
    """Return this rank's share of the run's data; all ranks have to ask.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are to be.

    Raises:
        TrainerError: the data cannot be read, or the batch is larger than the data set or too small for so many
            processes.
    """
    if config.data == "digits":
        return DigitViews(config, processes, device)
    if config.data == "synthetic":
        return SyntheticViews(config, processes, device)
    if config.data == "webdataset":
        return ShardViews(config, processes, device)
    return MapViews(config, processes, device, open_images(config, "pretrain", processes))
