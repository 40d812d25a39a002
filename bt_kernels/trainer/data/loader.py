"""Batches of views from files or arrays, read and augmented by worker processes."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bt_kernels.trainer.augmentation.photographs import PhotographViews, normalize, to_float
from bt_kernels.trainer.augmentation.photometric import draw_photometry
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.decoding import Unreadable, UnreadableImage
from bt_kernels.trainer.data.digits import ShuffledBatches
from bt_kernels.trainer.data.identity import identity_of
from bt_kernels.trainer.data.images import Images
from bt_kernels.trainer.data.views import Stateless, Views, check_batch
from bt_kernels.trainer.errors import DataError
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.run.signals import ANSWERED


class WorkerBatch(NamedTuple):
    """What a worker makes of one rank's rows of a batch."""

    a: Tensor  # (n, 3, S, S) uint8
    b: Tensor
    unreadable: tuple[Unreadable, ...]


class Failure(NamedTuple):
    """What a worker hands over in place of a batch: raised there, it would arrive with the worker's traceback."""

    sentence: str


@dataclass(frozen=True)
class Sample:
    """An image to be read.

    Args:
        name: What it is called in a message.
        key: What its views are drawn by.
        read: Returns it in RGB, or raises UnreadableImage.
    """

    name: str
    key: tuple[int, ...]
    read: Callable[[], Image.Image]


def views_of(samples: Sequence[Sample], two_views: PhotographViews) -> WorkerBatch | Failure:
    """Read and augment images.

    In place of one that cannot be read comes the one before it, or the first one that can be, with views of its
    own. Nothing is read a second time: the disk may have failed since.
    """
    views: list[Any] = [None] * len(samples)
    unreadable, waiting = [], []  # the latter: rows before the first readable one
    latest: Image.Image | None = None
    for row, sample in enumerate(samples):
        try:
            latest = sample.read()
        except UnreadableImage as error:
            unreadable.append(Unreadable(error.name, error.reason))
            if latest is None:
                waiting.append(row)
                continue
        views[row] = two_views(latest, sample.key)
        for earlier in waiting:
            views[earlier] = two_views(latest, samples[earlier].key)
        waiting = []
    if latest is None:
        first = f"{unreadable[0].name} ({unreadable[0].reason})"
        return Failure(
            f"none of the {len(samples)} images of a batch can be read, the first is {first}; check --data-dir"
        )
    a, b = (torch.stack(view) for view in zip(*views, strict=True))
    return WorkerBatch(a, b, tuple(unreadable))


class DeviceViews:
    """Turns a worker's batch into views on the device.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are to be.
    """

    def __init__(self, config: Config, processes: Processes, device: torch.device) -> None:
        self._config = config
        self._own = processes.own_rows(config.batch_size)
        self._device = device

    def __call__(self, step: int, batch: WorkerBatch) -> Views:
        a, b = (self._finish(step, view, pixels) for view, pixels in enumerate((batch.a, batch.b)))
        return Views(a, b, tuple(batch.unreadable))

    def _finish(self, step: int, view: int, pixels: Tensor) -> Tensor:
        images = to_float(pixels.to(self._device, non_blocking=True))
        if self._config.augment_on == "device":
            photometry = draw_photometry(self._config, view, self._config.batch_size, (self._config.seed, step))
            images = photometry.rows(self._own)(images)
        return normalize(images)


class MapViews(Stateless):
    """Views of a data set that is read by index: all that decides about a step's views is its number.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are to be.
        images: The data set.

    Raises:
        TrainerError: the batch is larger than the data set, or too small for so many processes.
    """

    def __init__(self, config: Config, processes: Processes, device: torch.device, images: Images) -> None:
        check_batch(config, len(images), processes)
        self.images = len(images)
        self.description = f"{self.images} unlabelled images of {images.place}"
        self.identity = identity_of(images.names() or [config.data], self.images)
        self.notes = [images.passed_over] if images.passed_over else []
        self._batches = ShuffledBatches(self.images, config.batch_size, config.seed)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self._own = processes.own_rows(config.batch_size)
        self._rows = _Rows(images, PhotographViews(config, config.image_size), config.seed)
        self._device_views = DeviceViews(config, processes, device)
        self._workers, self._device = config.workers, device

    def views(self, first_step: int) -> Generator[Views, None, None]:
        with closing(load(self._rows, self._own_rows(first_step), self._workers, self._device)) as batches:
            for step, batch in zip(count(first_step), batches):
                yield self._device_views(step, batch)

    def _own_rows(self, first_step: int) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch and the indices of this rank's rows of each step."""
        for step in count(first_step):
            yield step // self.steps_per_epoch, self._batches[step][self._own].tolist()


class _Rows(Dataset):
    """Batches of views, by epoch and indices."""

    def __init__(self, images: Images, two_views: PhotographViews, seed: int) -> None:
        self._images, self._two_views, self._seed = images, two_views, seed

    def __getitems__(self, rows: tuple[int, list[int]]) -> WorkerBatch | Failure:
        epoch, indices = rows
        images = self._images
        samples = [
            Sample(images.name(index), (self._seed, epoch, index), partial(images.read, index))
            for index in indices
        ]
        return views_of(samples, self._two_views)


def load(
    dataset: Dataset, requests: Iterable[Any] | None, workers: int, device: torch.device
) -> Generator[Any, None, None]:
    """Yield what a data set returns, in order, from worker processes, which end when the iterator is closed.

    Args:
        dataset: Its ``__getitems__`` takes one of the requests, or it is an IterableDataset.
        requests: What to ask for, or None for an IterableDataset.
        workers: Number of processes; 0: this one.
        device: Where the batches are to go.

    Raises:
        DataError: the data set returned a Failure, or a worker has died.
    """
    streamed = isinstance(dataset, IterableDataset)
    sampling: dict[str, Any] = {"batch_size": None} if streamed else {"batch_sampler": requests}
    loader = DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # else one number is drawn from the global one
        **sampling,
    )
    # DataLoader's own handler raises wherever the main thread happens to be; here a dead worker is to be seen
    # when its batch is due.
    previous = signal.getsignal(signal.SIGCHLD)
    others = multiprocessing.active_children()
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, previous)
    # If an error ends the program with the iterator still open, Python asks workers to end by SIGTERM and waits.
    end = partial(_kill, [child for child in multiprocessing.active_children() if child not in others])
    atexit.register(end)
    try:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if not _worker_is_lost(error):
                    raise
                raise DataError(
                    "a process that reads images has died, perhaps for want of memory, of space in /dev/shm or of "
                    f"open files (ulimit -n); try fewer than {workers} --workers"
                ) from error
            if isinstance(batch, Failure):
                raise DataError(batch.sentence)
            yield batch
    finally:
        del batches  # nothing else refers to it: its workers end
        end()  # one that has not, ignores the SIGTERM that Python would send it and then wait for
        atexit.unregister(end)


def _worker_is_lost(error: Exception) -> bool:
    text = str(error)
    if isinstance(error, RuntimeError):
        return any(sign in text for sign in ("exited unexpectedly", "Too many open files", "ancdata"))
    # What it had sent lies with it, and is fetched when it is due. An error of its own arrives with its traceback.
    return isinstance(error, (ConnectionError, EOFError, FileNotFoundError)) and "DataLoader worker" not in text


def _kill(workers: Sequence[multiprocessing.process.BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_signals(worker: int) -> None:
    """Signals that a terminal or a scheduler sends to all processes are the main process's to answer."""
    for number in ANSWERED:
        signal.signal(number, signal.SIG_IGN)
