"""Images from WebDataset shards: tar files that are read from front to back, in an order drawn by a key."""

from __future__ import annotations

import glob
import os
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, groupby
from pathlib import Path
from typing import IO

from typing_extensions import Self

from bt_kernels.trainer.augmentation.seeds import mixed_seed
from bt_kernels.trainer.data import shard_problems
from bt_kernels.trainer.data.shard_problems import FileCounts, Problems
from bt_kernels.trainer.errors import TrainerError

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "ppm", "pgm", "bmp", "tif", "tiff", "webp"})
EVERY_IMAGE = "all"  # in place of an ending
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


def find_shards(pattern: str, folder: str) -> list[str]:
    """Return the names, below ``folder``, of the files that ``pattern`` with its braces and its ``*``, ``?`` and
    ``[]`` stands for; an absolute pattern's are absolute.

    Those of a wildcard are sorted by name; one that is named twice is there once.

    Raises:
        TrainerError: one is missing, nothing matches a wildcard, the braces do not match, or the package
        webdataset is not installed.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise TrainerError("--data webdataset needs a package; pip install webdataset") from None
    try:
        patterns = expand_urls(os.path.expanduser(pattern))
    except (ValueError, AssertionError) as error:  # of braces, and of a ${variable}
        raise TrainerError(f"--shards {pattern} is no pattern of file names: {error}") from None
    root = Path(os.path.expanduser(folder))
    names: list[str] = []
    for name in patterns:
        found = [name] if os.path.exists(root / name) else sorted(glob.glob(name, root_dir=root))
        if not found:
            raise TrainerError(f"there is no shard {root / name}; check --shards and --data-dir")
        names += found
    return list(dict.fromkeys(names))


class ShardStream:
    """One of several shares of an epoch's images, in an order of its own for each epoch, without end.

    Args:
        paths: All shards.
        seed: Seed of the order.
        share: Number of the share, from 0.
        shares: Number of shares, at most as many as shards.
        ending: Of the files that are images; see ``read_shard``.
    """

    def __init__(self, paths: Sequence[str], seed: int, share: int, shares: int, ending: str = "") -> None:
        self._paths, self._seed, self._share, self._shares = paths, seed, share, shares
        self._ending = ending
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
                notices = self.problems.take()[1]
                raise NoReadableShard(f"none of the {len(self._paths)} shards gave an image: {notices[0]}")
            yield from shuffled(chain([first], images), rng)

    def _read(self, shards: Sequence[int], key: tuple[int, ...]) -> Iterator[ShardImage]:
        for shard in shards:
            path = self._paths[shard]
            for number, (name, encoded) in enumerate(read_shard(path, self.problems, self._ending)):
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


def read_shard(path: str, problems: Problems, ending: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the names and the contents of a shard's images.

    A sample is what follows each other under one name up to the first dot. Of its images those are taken whose
    ending has no dot (0000.jpg, not 0000.depth.png), or all of them if each has one.

    Args:
        path: A tar file, perhaps compressed.
        problems: Gets what cannot be read, where reading ends, and how many files are left out.
        ending: What follows the first dot of the files to take instead; EVERY_IMAGE: all images.
    """
    failures: list[Exception] = []
    counts, keys = FileCounts(), set[str]()
    given = 0
    ending = ending.lower().lstrip(".")
    try:
        with open(path, "rb") as file:
            files = _files(file, ending, counts, failures)
            for key, sample in groupby(files, key=lambda file: _split(file[0])[0]):
                if key in keys:
                    counts.add(shard_problems.SCATTERED, key)
                keys.add(key)
                for image in _images(sample, ending, counts):
                    yield image
                    given += 1
    except OSError as error:
        failures.append(error)
    if failures and given:
        problems.add(path, f"ends early ({_reason(failures[0])}); the rest of it is left out")
    elif failures:
        problems.add(path, f"cannot be read ({_reason(failures[0])}); it is left out")
    problems.notices += counts.notices(path)
    if not (failures or given):
        problems.add(path, "holds no images; it is left out")


def _files(
    file: IO[bytes], ending: str, counts: FileCounts, failures: list[Exception]
) -> Iterator[tuple[str, bytes | None]]:
    """Yield the name of every file of a tar, and the content if it may be an image; end at what cannot be read."""
    try:
        with tarfile.open(fileobj=file, tarinfo=_Header) as tar:
            for member in iter(tar.next, None):
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
                name = member.name
                if member.isdir():
                    continue
                if any(part.startswith(".") and part.strip(".") for part in name.split("/")):
                    counts.add(shard_problems.HIDDEN, name)
                elif not member.isreg():
                    counts.add(shard_problems.LINKS, name)
                else:
                    content = tar.extractfile(member) if _is_image(_split(name)[1], ending) else None
                    yield name, content.read() if content is not None else None
            rest = iter(partial(tar.fileobj.read, 1 << 20), b"")
            if any(part.strip(b"\0") for part in rest):
                raise tarfile.ReadError("there is more behind the end of the archive")
    except Exception as error:  # damage makes tarfile and the decompressors raise a dozen kinds
        failures.append(error)


class _Header(tarfile.TarInfo):
    """Stops at a block that is neither a header nor zeros, which tarfile takes for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError:
            if not buf:
                raise tarfile.ReadError("no end of the archive") from None
            if any(buf):
                raise tarfile.ReadError("damaged header") from None
            raise


def _images(
    sample: Iterable[tuple[str, bytes | None]], ending: str, counts: FileCounts
) -> Iterator[tuple[str, bytes]]:
    """Yield those of a sample's images that are taken."""
    waiting: list[tuple[str, bytes]] = []  # with a dot in the ending, while none without has come
    taken, last = 0, ""
    dots = bool(ending)  # whether images with a dot in the ending are taken
    for last, content in sample:
        if content is None:
            continue
        if dots or "." not in _split(last)[1]:
            for name, _ in waiting:
                counts.add(shard_problems.BESIDE, name)
            waiting.clear()
            taken += 1
            yield last, content
        elif taken:
            counts.add(shard_problems.BESIDE, last)
        else:
            waiting.append((last, content))
        if len(waiting) == SHUFFLED:  # no more of them are kept in the memory: these are no one picture's
            taken += len(waiting)
            yield from waiting
            waiting, dots = [], True
    yield from waiting
    taken += len(waiting)
    if taken == 0:
        named = ending and ending != EVERY_IMAGE
        counts.add(shard_problems.OTHER_ENDING if named else shard_problems.WITHOUT, last)
    elif taken > 1 and ending != EVERY_IMAGE:
        counts.add(shard_problems.SEVERAL, last, taken)


def _split(name: str) -> tuple[str, str]:
    """Return what tells a file's sample, its path up to the first dot of the file's name, and the ending."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


def _is_image(ending: str, chosen: str) -> bool:
    if chosen in ("", EVERY_IMAGE):
        return ending.rpartition(".")[2] in IMAGE_SUFFIXES
    return ending == chosen


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or (error.args[0] if error.args else type(error).__name__)
    return str(reason).partition("\n")[0].rstrip(":")
