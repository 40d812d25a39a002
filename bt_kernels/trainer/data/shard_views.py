"""Batches of views from WebDataset shards, streamed by worker processes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import count, islice
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from bt_kernels.trainer.augmentation.photographs import PhotographViews
from bt_kernels.trainer.config import Config
from bt_kernels.trainer.data.decoding import decode
from bt_kernels.trainer.data.identity import identity_of
from bt_kernels.trainer.data.loader import DeviceViews, Failure, Sample, WorkerBatch, load, views_of
from bt_kernels.trainer.data.shard_problems import Notice, Warnings
from bt_kernels.trainer.data.shards import NoReadableShard, ShardImage, ShardStream, find_shards
from bt_kernels.trainer.data.views import Stateless, Views, check_batch
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes


class ShardViews(Stateless):
    """Views of images that come out of shards, ``epoch_images`` to an epoch.

    Every epoch the shards are dealt anew to the ranks and their workers, and worker w of W gives the batches of
    the steps with remainder w modulo W. A step's views so depend on its number and on how many ranks and
    workers there are.

    Args:
        config: The run's options.
        processes: Those that every batch is spread over.
        device: Where the views are to be.

    Raises:
        TrainerError: a shard is missing, there are fewer than processes, or the batch is larger than an epoch or
            too small for so many processes.
    """

    def __init__(self, config: Config, processes: Processes, device: torch.device) -> None:
        check_batch(config, config.epoch_images, processes)
        root = Path(os.path.expanduser(config.data_dir))
        names = find_shards(config.shards, config.data_dir)
        self._paths = [str(root / name) for name in names]
        if len(self._paths) < processes.size:
            raise TrainerError(
                f"--shards {config.shards} names fewer shards ({len(self._paths)}) than there are processes "
                f"({processes.size}), each of which needs one; start fewer processes or split the shards"
            )
        self.images = config.epoch_images
        self.steps_per_epoch = self.images // config.batch_size
        self.description = (
            f"{self.images} unlabelled images an epoch, from {len(self._paths)} shards, first {self._paths[0]}"
        )
        self.identity = identity_of(map(_with_size, names, self._paths), len(names), "shards")
        self._config, self._processes, self._device = config, processes, device
        self._workers = min(config.workers, len(self._paths) // processes.size)  # a worker needs a shard
        self._device_views = DeviceViews(config, processes, device)
        self._warnings = Warnings(_warn)

    def views(self, first_step: int) -> Generator[Views, None, None]:
        rows = _Rows(self._config, self._processes, self._paths, self.steps_per_epoch, first_step)
        with (
            closing(self._warnings),
            closing(load(rows, None, self._workers, self._device)) as batches,
        ):
            for step, (batch, notices) in zip(count(first_step), batches):
                self._warnings.add(notices)
                yield self._device_views(step, batch)


def _with_size(name: str, path: str) -> str:
    try:
        return f"{name} {os.stat(path).st_size}"
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from None


def _warn(sentence: str) -> None:
    tqdm.write(f"warning: {sentence}", file=sys.stderr)  # beside a progress bar, if there is one


class _Rows(IterableDataset):
    """This rank's rows of each step's batch, from a step on."""

    def __init__(
        self, config: Config, processes: Processes, paths: list[str], steps_per_epoch: int, first_step: int
    ) -> None:
        own = processes.own_rows(config.batch_size)
        self._rows = own.stop - own.start
        self._rank, self._ranks = processes.rank, processes.size
        self._seed, self._paths, self._ending = config.seed, paths, config.shard_image
        self._steps_per_epoch, self._first_step = steps_per_epoch, first_step
        self._two_views = PhotographViews(config, config.image_size)
        self._max_pixels = config.max_image_pixels

    def __iter__(self) -> Iterator[tuple[WorkerBatch, tuple[Notice, ...]] | Failure]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        first = self._first_step + number
        share = self._rank * workers + first % workers
        stream = ShardStream(self._paths, self._seed, share, self._ranks * workers, self._ending)
        images: Iterator[ShardImage] = iter(())
        for step in range(first, sys.maxsize, workers):
            epoch, position = divmod(step, self._steps_per_epoch)
            try:
                if step == first or position < workers:  # this worker's first step of the epoch
                    images = stream.images(epoch)
                    skipped = position // workers * self._rows
                    next(islice(images, skipped, skipped), None)
                    stream.problems.found.clear()  # they have been counted
                rows = list(islice(images, self._rows))
            except NoReadableShard as error:
                yield Failure(str(error))
                return
            yield self._batch(rows, stream)

    def _batch(
        self, rows: list[ShardImage], stream: ShardStream
    ) -> tuple[WorkerBatch, tuple[Notice, ...]] | Failure:
        samples = [Sample(image.name, image.key, partial(_decoded, image, self._max_pixels)) for image in rows]
        batch = views_of(samples, self._two_views)
        if isinstance(batch, Failure):
            return batch
        found, notices = stream.problems.take()
        return batch._replace(unreadable=batch.unreadable + found), notices


def _decoded(image: ShardImage, max_pixels: int) -> Image.Image:
    return decode(io.BytesIO(image.encoded), image.name, max_pixels)
