"""Pre-training: the state that changes, one step of it, and the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.augment import TwoViews
from bt_kernels.trainer.checkpoint import save_checkpoint
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import ShuffledBatches
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.interrupt import InterruptRequest
from bt_kernels.trainer.model import build_network
from bt_kernels.trainer.optimizer import build_optimizer, build_scheduler
from bt_kernels.trainer.processes import Processes
from bt_kernels.trainer.progress import Progress, StepMetrics
from bt_kernels.trainer.run_folder import RunFolder


class Pretraining:
    """A pre-training run between two steps: all that a step changes, and so all that a checkpoint holds.

    Args:
        config: The run's options.
        images: Unlabelled training images, (N, 1, S, S) in [0, 1], on the CPU.
        processes: Those that every batch is spread over. All of them draw the whole batch's views, and each
            keeps its own rows of them, so the views are those of one process.

    Raises:
        TrainerError: the batch is larger than the data set, or too small for so many processes.
    """

    def __init__(self, config: Config, images: Tensor, processes: Processes) -> None:
        if config.batch_size > len(images):
            raise TrainerError(
                f"--batch-size {config.batch_size} is more than the {len(images)} training images"
            )
        if config.batch_size < 2 * processes.size:
            # With one image, batch norm on the CPU would see nothing but its two views.
            raise TrainerError(
                f"--batch-size {config.batch_size} is less than 2 images for each of {processes.size} processes, "
                "which batch norm needs"
            )
        self.config = config
        self.processes = processes
        self.device = processes.take_device(config.device)
        self.images = images.to(self.device)
        self.batches = ShuffledBatches(len(images), config.batch_size, config.seed)
        self.total_steps = config.epochs * self.batches.steps_per_epoch
        self.network = build_network(config).to(self.device)
        self.replica: nn.Module = self.network  # what a step calls
        group = "world" if processes.size > 1 else None
        self.criterion = BarlowTwinsLoss(lambd=config.lambd, return_terms=True, process_group=group)
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = build_scheduler(self.optimizer, self.total_steps, config.warmup_fraction)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.two_views = TwoViews(self.generator)
        self.step = 0
        self.seconds = 0.0

    @contextmanager
    def replicated(self) -> Iterator[None]:
        """While it lasts, steps are those of all processes together; all of them have to enter."""
        self.replica = self.processes.replicate(self.network)
        try:
            yield
        finally:
            # Left to be destroyed after its process group, DistributedDataParallel can deadlock.
            self.replica = self.network

    def train_step(self) -> StepMetrics:
        """Do one step; of several processes, inside ``replicated``.

        Raises:
            TrainerError: the loss is not finite; the weights are those before the step.
        """
        start = time.perf_counter()
        view_a, view_b = self.two_views(self.images[self.batches[self.step].to(self.device)])
        own = self.processes.own_rows(len(view_a))
        # Both views in one batch: half as many passes over the weights, which bound a small batch's time.
        z_a, z_b = self.replica(torch.cat([view_a[own], view_b[own]])).chunk(2)
        loss, on_diagonal, off_diagonal = self.criterion(z_a, z_b)
        values = torch.stack([loss, on_diagonal, off_diagonal]).tolist()
        if not math.isfinite(values[0]):
            raise TrainerError(
                f"the loss is {values[0]} at step {self.step + 1}; try a lower --learning-rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        learning_rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.seconds += time.perf_counter() - start
        epoch = (self.step - 1) // self.batches.steps_per_epoch + 1
        return StepMetrics(
            step=self.step,
            epoch=epoch,
            loss=values[0],
            on_diagonal=values[1],
            off_diagonal=values[2],
            learning_rate=learning_rate,
            seconds=round(self.seconds, 3),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything ``load_state_dict`` needs to go on exactly from here."""
        return {
            "step": self.step,  # also the sampler's position
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "augmentation_rng": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``.

        Raises:
            TrainerError: it does not belong to this configuration.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.generator.set_state(state["augmentation_rng"])
            torch.set_rng_state(state["torch_rng"])
            self.step, self.seconds = state["step"], state["seconds"]
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise TrainerError(f"the checkpoint does not fit this configuration: {reason}") from error


def train(state: Pretraining, folder: RunFolder) -> bool:
    """Train to the end, saving checkpoints; return False if Ctrl-C stopped it before.

    Raises:
        TrainerError: the loss is not finite, or a checkpoint cannot be written.
    """
    config, processes = state.config, state.processes
    steps_between_checkpoints = config.checkpoint_every * state.batches.steps_per_epoch
    progress = processes.on_first(
        lambda: Progress(folder.metrics, state.step, state.total_steps, config.epochs, config.batch_size)
    )
    state.network.train()
    interrupted = False
    with InterruptRequest() as interrupt, progress or nullcontext(), state.replicated():
        while state.step < state.total_steps and not interrupted:
            metrics = state.train_step()
            if progress is not None:
                progress.log(metrics)
            # Asked once a step: all ranks have to stop, and to save, at the same one.
            interrupted = processes.any(interrupt.requested)
            last = state.step == state.total_steps
            if last or interrupted or state.step % steps_between_checkpoints == 0:
                processes.on_first(
                    lambda: save_checkpoint(folder.checkpoint, config.as_dict(), state.state_dict())
                )
    return state.step == state.total_steps
