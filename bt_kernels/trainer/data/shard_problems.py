"""What shards hold that is not used: counted where they are read, said where they are trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bt_kernels.trainer.data.decoding import Unreadable

BESIDE = "images beside their sample's own are left out"
SEVERAL = "images whose names are the same up to the first dot are all used, each by itself"
WITHOUT = "samples without an image are left out"
OTHER_ENDING = "samples without an image of the ending that --shard-image names are left out"
SCATTERED = "samples whose files do not follow each other are taken for several"
HIDDEN = "files whose names begin with a dot are left out"
LINKS = "links and special files are left out"
_REMEDIES = {
    BESIDE: "; --shard-image names the ending to use instead",
    SEVERAL: "; if they are of one picture, --shard-image names the ending of the one to use",
    WITHOUT: "; --shard-image names the ending of other images",
    OTHER_ENDING: "; an ending is all that follows the first dot of a name",
    SCATTERED: "; tar --sort=name keeps them together",
    HIDDEN: "",
    LINKS: "; tar --dereference --hard-dereference stores files in their place",
}


class Notice(NamedTuple):
    """What is to be said about a shard.

    Args:
        shard: Its path.
        what: A predicate, or one of the kinds above.
        files: How many files it is about, if ``what`` is a kind.
        example: The name of one.
    """

    shard: str
    what: str
    files: int = 0
    example: str = ""

    def __str__(self) -> str:
        if not self.files:
            return f"{self.shard} {self.what}"
        example = " ".join(self.example.splitlines())
        return f"{self.shard}: {self.what}: {self.files}, such as {example}{_REMEDIES[self.what]}"


class FileCounts:
    """How many files of a shard there are of each kind, and an example."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str, files: int = 1) -> None:
        """Count files of a kind."""
        before, first = self._kinds.get(kind, (0, example))
        self._kinds[kind] = before + files, first

    def notices(self, shard: str) -> list[Notice]:
        """What is to be said of them."""
        return [Notice(shard, kind, files, example) for kind, (files, example) in self._kinds.items()]


@dataclass
class Problems:
    """What is to be said of the shards that were read, gathered until somebody takes it.

    Args:
        found: Shards that could not be read as a whole.
        notices: Of these, and of files that were left out.
    """

    found: list[Unreadable] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def add(self, shard: str, what: str) -> None:
        """Note that a shard cannot be read as a whole."""
        self.found.append(Unreadable(os.path.basename(shard), what))
        self.notices.append(Notice(shard, what))

    def take(self) -> tuple[tuple[Unreadable, ...], tuple[Notice, ...]]:
        """Return what was found and the notices, and forget them."""
        taken = tuple(self.found), tuple(self.notices)
        self.found, self.notices = [], []
        return taken


class Warnings:
    """Says every notice once; of those of one kind the first, and the number of files in all shards at the end.

    The data may be read again, for pictures say: what was said is not said again.

    Args:
        say: Shows a sentence.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[Notice] = set()
        self._files: dict[str, dict[str, int]] = {}  # by kind and shard, which is read again every epoch
        self._totals: dict[str, int] = {}  # by kind, as they were said

    def add(self, notices: Iterable[Notice]) -> None:
        """Take notices of shards that were read."""
        for notice in notices:
            if notice.files:
                known = self._files.setdefault(notice.what, {})
                first = not known
                known[notice.shard] = notice.files
            else:
                first = notice not in self._said
                self._said.add(notice)
            if first:
                self._say(str(notice))

    def close(self) -> None:
        """Say the numbers of the kinds that more than one shard had."""
        for kind, files in self._files.items():
            total = sum(files.values())
            if len(files) > 1 and self._totals.get(kind) != total:
                self._totals[kind] = total
                self._say(f"{kind}: {total} in {len(files)} of the shards that were read")
