"""The state of a pre-training run between two steps, and one step of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from bt_kernels import BarlowTwinsLoss
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data import TrainingData, Views, open_training_data
from bt_kernels.trainer.data.identity import DataIdentity
from bt_kernels.trainer.errors import Diverged, TrainerError
from bt_kernels.trainer.model.network import build_network
from bt_kernels.trainer.optimization.optimizers import build_optimizer
from bt_kernels.trainer.optimization.schedule import build_scheduler
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.parallel.replicas import (
    full_tensors,
    load_network,
    load_optimizer,
    local,
    replicate,
    spread,
    synchronizer,
)
from bt_kernels.trainer.precision import Precision
from bt_kernels.trainer.randomness import random_state, restore_random_state, seed_rank
from bt_kernels.trainer.run.metrics import StepMetrics
from bt_kernels.trainer.training.accumulation import StepResult, forward_backward
from bt_kernels.trainer.training.health import CollapseWatch, measure
from bt_kernels.trainer.training.loss_backend import take_backend


class Pretraining:
    """A pre-training run between two steps: all that a step changes, and so all that a checkpoint holds.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.

    Raises:
        TrainerError: the data cannot be read, a batch is larger than the data set or too small for so many
            processes and chunks, the network cannot be built, or the loss's backend cannot run.
    """

    def __init__(self, config: Config, processes: Processes) -> None:
        self.config = config
        self.processes = processes
        # What may fail on one rank alone, whose machine lacks a file or a GPU, fails on all of them.
        self.device = processes.together(lambda: processes.take_device(config.device))
        self.data: TrainingData = processes.together(lambda: open_training_data(config, processes, self.device))
        of_first = processes.share(lambda: self.data.identity)
        processes.together(lambda: self._require_same_data(of_first))
        self.network = processes.together(lambda: build_network(config)).to(self.device)
        spread(self.network, processes, config.parallel)
        if config.compile:
            self.network.compile()
        self.replica: nn.Module = self.network  # what a step calls
        self.precision = Precision(config.precision, self.device)
        self.loss_backend = processes.together(
            lambda: take_backend(config.loss_backend, self.device, self.precision.dtype)
        )
        self.criterion = BarlowTwinsLoss(
            lambd=config.lambd,
            backend=self.loss_backend.name,
            process_group="world" if processes.size > 1 else None,
        ).terms
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = build_scheduler(self.optimizer, config, self.data.steps_per_epoch)
        self.watch = CollapseWatch()
        self.step = 0  # those done, each once
        self.position = 0  # in the epochs of the data; another number where data have changed on the way
        self.seconds = 0.0
        self.waiting_seconds = 0.0  # for batches; the rest of the loop is in neither
        self.unreadable_images = 0  # so far, on all ranks
        seed_rank(config.seed, processes.rank)

    def _require_same_data(self, of_first: DataIdentity) -> None:
        if self.data.identity != of_first:
            raise TrainerError(
                f"rank {self.processes.rank} does not read what rank 0 does: "
                f"{self.data.identity.difference(of_first)}; give all machines the same files"
            )

    @property
    def total_steps(self) -> int:
        """Steps that will have been done at the end of the run."""
        return self.step - self.position + self.config.epochs * self.data.steps_per_epoch

    @contextmanager
    def replicated(self) -> Iterator[None]:
        """While it lasts, steps are those of all processes together; all of them have to enter."""
        self.replica = replicate(self.network, self.processes)
        try:
            yield
        finally:
            # Left to be destroyed after its process group, DistributedDataParallel can deadlock.
            self.replica = self.network

    def train_step(self, views: Views) -> StepMetrics:
        """Do one step; of several processes, inside ``replicated``.

        Args:
            views: This rank's rows of the batch.

        Raises:
            Diverged: the loss is not finite, and the weights are those before the step; or the embeddings have
                collapsed.
        """
        start = time.perf_counter()
        config, scaler = self.config, self.precision.scaler
        self.optimizer.zero_grad()
        result = forward_backward(
            self.replica,
            self.criterion,
            views.a,
            views.b,
            chunks=config.accumulate,
            exact=config.accumulation == "exact",
            gradient_divisor=config.gradient_divisor,
            autocast=self.precision.autocast,
            scale=scaler.scale,
            synchronize=synchronizer(self.replica),
            check=self._check_finite,
        )
        learning_rate = self.optimizer.param_groups[0]["lr"]
        scaler.step(self.optimizer)
        scaler.update()
        self.scheduler.step()
        self.step += 1
        self.position += 1
        loss, on_diagonal, off_diagonal = self._values(result)
        statistics = {}
        if self.step % config.statistics_every == 0:
            measured = measure(result.z_a, result.z_b, off_diagonal, self.processes.total)
            statistics = vars(measured)
            seen = self.watch.seen(self.step, measured)
            if seen is not None:
                raise Diverged(f"{seen} at step {self.step}", since=self.watch.healthy_until)
        self.seconds += time.perf_counter() - start
        return StepMetrics(
            step=self.step,
            epoch=(self.position - 1) // self.data.steps_per_epoch + 1,
            loss=loss,
            on_diagonal=on_diagonal,
            off_diagonal=off_diagonal,
            learning_rate=learning_rate,
            seconds=round(self.seconds, 3),
            waiting_seconds=round(self.waiting_seconds, 3),
            **statistics,
        )

    def _values(self, result: StepResult) -> list[float]:
        return torch.stack([result.loss, result.on_diagonal, result.off_diagonal]).tolist()

    def _check_finite(self, result: StepResult) -> None:
        """Called before a step's backward: a loss that is not finite must not reach the weights."""
        loss = self._values(result)[0]
        if not math.isfinite(loss):
            since = self.watch.healthy_until if self.watch.suspicious else self.step
            raise Diverged(f"the loss is {loss} at step {self.step + 1}", since)

    def check_weights(self) -> None:
        """Raise Diverged if a weight is not finite: no checkpoint must hold it."""
        finite = torch.stack([local(p).isfinite().all() for p in self.network.parameters()]).all()
        if self.processes.any(not finite):
            raise Diverged(f"weights are not finite after step {self.step}", since=self.step - 1)

    def state_dict(self) -> dict[str, Any]:
        """Everything ``load_state_dict`` needs to go on exactly from here, tensors whole and on the CPU.

        Of several processes all have to ask; those other than the first get no tensors of the network's.
        """
        first = self.processes.first
        return {
            "step": self.step,
            "position": self.position,
            "steps_per_epoch": self.data.steps_per_epoch,
            "identity": asdict(self.data.identity),
            "seconds": self.seconds,
            "waiting_seconds": self.waiting_seconds,
            "unreadable_images": self.unreadable_images,
            "network": full_tensors(dict(self.network.state_dict()), keep=first),
            "optimizer": full_tensors(self.optimizer.state_dict(), keep=first),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "watch": self.watch.state_dict(),
            "data": self.data.state_dict(),
            "random": self.processes.gather(random_state(self.device)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; with another number of processes than it was saved by, random numbers differ.

        Raises:
            TrainerError: it does not belong to this configuration.
        """
        try:
            load_network(self.network, state["network"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.precision.scaler.load_state_dict(state["scaler"])
            self.watch.load_state_dict(state["watch"])
            self.data.load_state_dict(state["data"])
            if self.processes.rank < len(state["random"]):
                restore_random_state(state["random"][self.processes.rank], self.device)
            self.step, self.position, self.seconds = state["step"], state["position"], state["seconds"]
            self.waiting_seconds = state["waiting_seconds"]
            self.unreadable_images = state["unreadable_images"]
        except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise TrainerError(f"the checkpoint does not fit this configuration: {reason}") from error

    def start_at(self, step: int) -> None:
        """Begin at a later step, as if those before it had been done."""
        self.step = step
        self.move_to(step)

    def move_to(self, position: int) -> None:
        """Go to another position in the data and in the learning rate's schedule."""
        self.position = self.scheduler.last_epoch = position
        shares, peaks = self.scheduler.lr_lambdas, self.scheduler.base_lrs
        for group, share, peak in zip(self.optimizer.param_groups, shares, peaks, strict=True):
            group["lr"] = peak * share(position)
