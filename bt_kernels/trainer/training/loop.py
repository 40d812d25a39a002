"""The training loop: steps, what is recorded of them, checkpoints, and what ends them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace

import torch

from bt_kernels.trainer.config.parts import UNLABELLED
from bt_kernels.trainer.data import Views
from bt_kernels.trainer.data.decoding import Unreadable
from bt_kernels.trainer.data.unreadable import UnreadableImages
from bt_kernels.trainer.errors import DataError, Diverged, TrainerError
from bt_kernels.trainer.run.metrics import StepMetrics
from bt_kernels.trainer.run.progress import Progress
from bt_kernels.trainer.run.run_folder import RunFolder
from bt_kernels.trainer.run.signals import Stop, StopRequest
from bt_kernels.trainer.training.neighbours import NeighbourAccuracy
from bt_kernels.trainer.training.pretraining import Pretraining


def train(state: Pretraining, folder: RunFolder) -> Stop:
    """Train to the end, saving checkpoints; return what stopped it before, or ``Stop.NO``.

    Raises:
        TrainerError: the training went wrong, images cannot be read, or a file cannot be written.
    """
    return _Loop(state, folder).run()


class _Loop:
    """The loop's parts; its methods are called on all ranks alike, at the same steps."""

    def __init__(self, state: Pretraining, folder: RunFolder) -> None:
        self.state, self.folder = state, folder
        self.config, self.processes = state.config, state.processes
        measured = self.config.knn_every and self.config.data not in UNLABELLED
        self.neighbours = self.processes.together(lambda: NeighbourAccuracy(state)) if measured else None
        self.progress = self.processes.on_first(self._open_progress)
        self._saved = state.step  # what the latest checkpoint holds, or the run began with
        self._asked = 0.0  # when the last batch was asked for
        self._done: StepMetrics | None = None  # the step before, not yet written down
        self._unreadable: list[Unreadable] = []  # not yet written down
        self._unreadable_file = UnreadableImages(folder.unreadable)

    def _open_progress(self) -> Progress:
        return Progress(
            self.folder.metrics,
            self.state.step,
            self.state.total_steps,
            self.config.epochs,
            self.config.batch_size,
            self.folder.tensorboard if self.config.tensorboard else None,
            ahead=self.state.position - self.state.step,
        )

    def run(self) -> Stop:
        """Take steps until the last one or until a signal; see ``train``."""
        state, reason = self.state, Stop.NO
        state.network.train()
        with (
            self.progress or nullcontext(),
            StopRequest() as request,
            state.replicated(),
            closing(state.data.views(state.position)) as batches,
        ):
            self._catch_up()
            while state.step < state.total_steps and reason == Stop.NO:
                try:
                    views = self.processes.together(lambda: self._next(batches))
                    state.waiting_seconds += time.perf_counter() - self._asked
                    reason = self._step(views, request)
                except Diverged as error:
                    raise TrainerError(self._advice(error)) from error
                except DataError as error:
                    raise TrainerError(self._after_saving(error)) from error
            self.processes.together(self._record)
        return reason

    def _next(self, batches: Iterator[Views]) -> Views:
        # What may fail on one rank alone, the disk or an image, is done here, where all ranks hear of it.
        self._record()
        self._asked = time.perf_counter()
        return next(batches)

    def _record(self) -> None:
        """Write down the step before, if that has not been done."""
        if self.progress is not None and self._done is not None:
            self.progress.log(self._done)
            self._unreadable_file.add(self._unreadable)
        self._done, self._unreadable = None, []

    def _catch_up(self) -> None:
        """Measure the neighbours that a run ended before, between its checkpoint and their measurement."""
        last = self.progress.last if self.progress is not None else None
        lacking = last is not None and last.step == self.state.step and last.knn_accuracy is None
        if self.neighbours is None or not self._ends_epochs(self.config.knn_every):
            return
        if self.processes.any(lacking):
            accuracy = self.neighbours()
            self._done = replace(last, knn_accuracy=accuracy) if last is not None else None

    def _step(self, views: Views, request: StopRequest) -> Stop:
        state = self.state
        metrics = state.train_step(views)
        # Said once a step, through the CPU: all ranks have to stop, and to save, at the same one.
        interrupted, preempted = request.reason == Stop.INTERRUPTED, request.reason == Stop.PREEMPTED
        told = torch.tensor([interrupted, preempted, len(views.unreadable)], dtype=torch.int64)
        interrupted, preempted, unreadable = self.processes.total(told).tolist()
        reason = Stop.PREEMPTED if preempted else Stop.INTERRUPTED if interrupted else Stop.NO
        state.unreadable_images += unreadable
        if unreadable:
            gathered = self.processes.gather(views.unreadable)
            self._unreadable = [image for own in gathered or () for image in own]
        self._done = replace(metrics, unreadable_images=state.unreadable_images)
        if reason != Stop.NO or self._ends_epochs(self.config.checkpoint_every):
            self._save()
        # After the checkpoint: nothing that goes wrong in it costs the epoch.
        if self.neighbours is not None and self._ends_epochs(self.config.knn_every):
            self._done = replace(self._done, knn_accuracy=self.neighbours())
        return reason

    def _ends_epochs(self, epochs: int) -> bool:
        """Whether the step just done is the last of so many epochs, or of the run."""
        state = self.state
        return state.step == state.total_steps or state.position % (epochs * state.data.steps_per_epoch) == 0

    def _save(self) -> None:
        self.state.check_weights()
        training = self.state.state_dict()
        self.processes.on_first(lambda: self._write(training))
        self._saved = self.state.step

    def _write(self, training: dict[str, object]) -> None:
        assert self.progress is not None
        if self._done is not None:
            self.progress.record(self._done)
            self._unreadable_file.add(self._unreadable)
        self.progress.sync()  # the steps that the checkpoint has behind it must not be lost to a power cut
        checkpoints = self.folder.checkpoints
        checkpoints.save(self.state.step, self.config.as_dict(), training)
        if not self.state.watch.suspicious:  # else an older one may be the last good one
            checkpoints.keep(self.config.keep_checkpoints)

    def _after_saving(self, error: DataError) -> str:
        """Save the steps since the last checkpoint; return the sentence that the run ends with."""
        step = self.state.step
        if step > self._saved:
            try:
                self._save()
            except TrainerError as refusal:
                return f"{error}; the checkpoint of step {step} is not saved: {refusal}"
        elif step not in self.folder.checkpoints.steps():
            return str(error)  # nothing has been done
        return f"{error}; the checkpoint of step {step} is saved, --resume goes on from it"

    def _advice(self, error: Diverged) -> str:
        """The sentence that a run ends with that has gone wrong."""
        good = [step for step in self.folder.checkpoints.steps() if step <= error.since]
        if not good:
            return f"{error}, before any checkpoint; start again with a lower --learning-rate"
        # More is not known of it: what went wrong may have begun before there was a sign.
        return (
            f"{error}; the checkpoint of step {good[-1]} has finite weights and is the last one before the first "
            "sign of it: start a new run with a lower --learning-rate and --continue-from "
            f"{shlex.quote(str(self.folder.checkpoints.path(good[-1])))}"
        )
