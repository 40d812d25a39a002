"""Images from WebDataset shards: tar files that are read from front to back, in an order drawn by a key."""

from __future__ import annotations

import glob
import os
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import IO

from bt_kernels.trainer.augmentation.seeds import mixed_seed
from bt_kernels.trainer.errors import TrainerError

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "ppm", "pgm", "bmp", "tif", "tiff", "webp"})
SHUFFLED = 1000  # encoded images that one is drawn from: some 100 MB of ImageNet's per worker
SHUFFLED_AT_FIRST = 100  # as many are read before the first one is given out


class NoReadableShard(Exception):
    """None of the shards gave an image; the message is a sentence."""


@dataclass(frozen=True)
class ShardImage:
    """An encoded image.

    Args:
        name: Its shard's file name and its own name in there.
        key: Tells it from all others of an epoch.
        encoded: The image file.
    """

    name: str
    key: tuple[int, ...]
    encoded: bytes


@dataclass
class Problems:
    """What could not be read, gathered until somebody takes it.

    Args:
        names: Shards, and samples in them.
        sentences: A warning each.
    """

    names: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def add(self, name: str, sentence: str) -> None:
        self.names.append(name)
        self.sentences.append(sentence)

    def take(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return names and sentences, and forget them."""
        taken = tuple(self.names), tuple(self.sentences)
        self.names, self.sentences = [], []
        return taken


def find_shards(pattern: str, folder: str) -> list[str]:
    """Return the files that ``pattern`` with its braces and its ``*``, ``?`` and ``[]`` stands for, below
    ``folder``.

    Those of a wildcard are sorted by name.

    Raises:
        TrainerError: one is missing, nothing matches a wildcard, the braces do not match, or the package
        webdataset is not installed.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise TrainerError("--data webdataset needs a package; pip install webdataset") from None
    try:
        names = expand_urls(pattern)
    except ValueError as error:
        raise TrainerError(f"--shards {pattern} is no pattern of file names: {error}") from None
    root = Path(folder).expanduser()
    paths = []
    for name in names:
        path = str(root / name)
        found = [path] if os.path.exists(path) else sorted(glob.glob(name, root_dir=root))
        if not found:
            raise TrainerError(f"there is no shard {path}; check --shards and --data-dir")
        paths += [str(root / file) for file in found]
    return paths


class ShardStream:
    """One of several shares of an epoch's images, in an order of its own for each epoch, without end.

    Args:
        paths: All shards.
        seed: Seed of the order.
        share: Number of the share, from 0.
        shares: Number of shares, at most as many as shards.
    """

    def __init__(self, paths: Sequence[str], seed: int, share: int, shares: int) -> None:
        self._paths, self._seed, self._share, self._shares = paths, seed, share, shares
        self.problems = Problems()

    def images(self, epoch: int) -> Iterator[ShardImage]:
        """Yield every image of the share once, then those of another share of the epoch, and so on.

        Raises:
            NoReadableShard: no shard gave an image.
        """
        for turn in count():
            key = (self._seed, epoch, turn)
            order = list(range(len(self._paths)))
            rng = random.Random(mixed_seed(*key))
            rng.shuffle(order)
            images = self._read(order[self._share :: self._shares], key)
            first = next(images, None)
            if first is None:  # every shard of the share is damaged: any other one will do
                del order[self._share :: self._shares]
                images = self._read(order, key)
                first = next(images, None)
            if first is None:
                reasons = self.problems.take()[1]
                raise NoReadableShard(f"none of the {len(self._paths)} shards gave an image: {reasons[0]}")
            yield from shuffled(chain([first], images), rng)

    def _read(self, shards: Sequence[int], key: tuple[int, ...]) -> Iterator[ShardImage]:
        for shard in shards:
            path = self._paths[shard]
            for number, (name, encoded) in enumerate(read_shard(path, self.problems)):
                yield ShardImage(f"{os.path.basename(path)}/{name}", (*key, shard, number), encoded)


def shuffled(images: Iterator[ShardImage], rng: random.Random) -> Iterator[ShardImage]:
    """Yield all images, each drawn from those that have been read and not yet been given out."""
    waiting: list[ShardImage] = []

    def draw() -> ShardImage:
        chosen = int(rng.random() * len(waiting))
        waiting[chosen], waiting[-1] = waiting[-1], waiting[chosen]
        return waiting.pop()

    for image in images:
        waiting.append(image)
        if len(waiting) < SHUFFLED:  # two in, one out, until there are enough
            waiting.extend(more for more in [next(images, None)] if more is not None)
        if len(waiting) >= SHUFFLED_AT_FIRST:
            yield draw()
    while waiting:
        yield draw()


def read_shard(path: str, problems: Problems) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the encoded image of every sample; labels and other files are left out.

    Args:
        path: A tar file, perhaps compressed.
        problems: Gets what cannot be read. Reading ends there.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    shard = os.path.basename(path)
    failures: list[Exception] = []
    given = 0

    def stop(error: Exception) -> bool:
        failures.append(error)
        return False

    def leave_out(error: Exception) -> bool:
        problems.add(shard, f"{path} has files of the same name; they are left out")
        return True

    try:
        with open(path, "rb") as file:
            files = tar_file_expander([{"url": path, "stream": file}], handler=stop)
            for sample in group_by_keys(files, handler=leave_out):
                suffix = next((name for name in sample if name.rpartition(".")[2] in IMAGE_SUFFIXES), None)
                if suffix is None:
                    name = f"{shard}/{sample['__key__']}"
                    problems.add(name, f"{path} has samples without an image; they are left out")
                    continue
                yield f"{sample['__key__']}.{suffix}", sample[suffix]
                given += 1
            if not failures and _ends_early(file):
                failures.append(tarfile.ReadError("no end of the archive"))
    except OSError as error:
        failures.append(error)
    if failures and given:
        problems.add(shard, f"{path} ends early ({_reason(failures[0])}); the rest of it is left out")
    elif failures:
        problems.add(shard, f"{path} cannot be read ({_reason(failures[0])}); it is left out")
    elif not given:
        problems.add(shard, f"{path} holds no images; it is left out")


def _ends_early(file: IO[bytes]) -> bool:
    """Whether a shard that was read without an error lacks its end.

    tarfile takes a damaged header for the end of the archive, and a file that was cut off between two members
    for a whole one.
    """
    position, size = file.tell(), file.seek(0, os.SEEK_END)
    if size - position > tarfile.RECORDSIZE:
        return True
    if not str(file.name).endswith(".tar"):
        return False  # of a compressed one the last bytes say nothing
    file.seek(max(0, size - tarfile.BLOCKSIZE))
    return any(file.read())


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error.args[0] if error.args else error)
    return text.partition(" @ ")[0]  # webdataset adds the file object
