"""The image files below a folder, found in one pass, and what is passed over on the way."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bt_kernels.trainer.torchvision_import import import_torchvision

THUMBNAILS = ("__MACOSX", "@eaDir")  # folders that macOS and Synology put beside other files
SHOWN_ENDINGS = 3
HIDDEN = "hidden"
LINKED = "folders reached a second time through links"
REFUSED = "folders that cannot be read"
SPECIAL = "pipes, sockets or devices"
OTHERS = "of other endings"
BESIDE = "beside the class folders"


def image_endings() -> tuple[str, ...]:
    """The endings of image files, in small letters."""
    return import_torchvision().datasets.folder.IMG_EXTENSIONS


@dataclass
class PassedOver:
    """What was found and is not used: how many of each kind, and an example.

    ``again`` has the links to folders that are read under another name.
    """

    again: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)
    _endings: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, example: str) -> None:
        """Count one of a kind."""
        self._counts[kind] += 1
        self._examples[kind] = min(example, self._examples.get(kind, example))

    def add_other(self, name: str) -> None:
        """Count a file of another ending."""
        self._endings[os.path.splitext(name)[1].lower() or "none"] += 1

    def __str__(self) -> str:
        """On one line; empty if there is nothing."""
        parts = [f"{self._counts[kind]} {kind} (such as {self._examples[kind]})" for kind in sorted(self._counts)]
        if self._endings:
            commonest = sorted(self._endings.items(), key=lambda item: (-item[1], item[0]))
            shown = [f"{ending}: {count}" for ending, count in commonest[:SHOWN_ENDINGS]]
            others = [f"{len(commonest) - len(shown)} others"] if len(commonest) > len(shown) else []
            parts.append(f"{self._endings.total()} {OTHERS} ({', '.join(shown + others)})")
        return " ".join(", ".join(parts).splitlines())


def find_images(root: str) -> tuple[list[str], list[str], PassedOver]:
    """Find the image files at any depth below a folder.

    Links are followed, but no folder is entered twice. Hidden files and folders are passed over.

    Args:
        root: The folder.

    Returns:
        The files, relative to ``root`` and in torchvision's order: by the folder at the top, by the folder, by the
        name; the folders at the top, sorted, without links to others; and what was passed over.

    Raises:
        OSError: the folder itself cannot be read.
    """
    endings, passed = image_endings(), PassedOver()
    found: list[tuple[str, str, list[str]]] = []
    tops: list[str] = []
    for folder, names, folders in _walk(root, endings, passed):
        if folder == "":
            tops = sorted(folders)
        if names:
            found.append((folder.partition(os.sep)[0], folder, sorted(names)))
    found.sort()
    tops = [name for name in tops if name not in passed.again]
    return [os.path.join(folder, name) for _, folder, names in found for name in names], tops, passed


def folders_at_top(root: str) -> list[str]:
    """Return the names of the folders in a folder, sorted.

    Raises:
        OSError: it cannot be read.
    """
    return sorted(next(_walk(root, image_endings(), PassedOver()))[2])


def holds_images(root: str) -> bool:
    """Whether there is an image file below a folder, which is searched no longer than needed."""
    return any(names for _, names, _ in _walk(root, image_endings(), PassedOver()))


def _walk(root: str, endings: tuple[str, ...], passed: PassedOver) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield folders, relative to ``root``, each with its image files and its folders: linked ones last."""
    entered: set[tuple[int, int]] = set()
    waiting, links = [""], list[str]()  # a stack, and a heap: the order must not be the disk's
    while waiting or links:
        folder = waiting.pop() if waiting else heapq.heappop(links)
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            identity = status.st_dev, status.st_ino
            if identity in entered:
                passed.add(LINKED, folder)
                passed.again.append(folder)
                continue
            entered.add(identity)
            with os.scandir(path) as entries:
                names, folders, linked = _sorted_out(folder, entries, endings, passed)
        except OSError as error:
            if folder == "":
                raise
            passed.add(REFUSED, f"{folder}: {error.strerror}")
            continue
        waiting += [os.path.join(folder, name) for name in sorted(folders, reverse=True)]
        for name in linked:
            heapq.heappush(links, os.path.join(folder, name))
        yield folder, names, folders + linked


def _sorted_out(
    folder: str, entries: Iterator[os.DirEntry[str]], endings: tuple[str, ...], passed: PassedOver
) -> tuple[list[str], list[str], list[str]]:
    """Return the names of a folder's image files, of its folders and of its links to folders."""
    names, folders, linked = list[str](), list[str](), list[str]()
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name in THUMBNAILS:
            passed.add(HIDDEN, os.path.join(folder, name))
        elif _is_folder(entry):
            (linked if entry.is_symlink() else folders).append(name)
        elif not name.lower().endswith(endings):
            passed.add_other(name)
        elif _is_special(entry):  # to read one would wait for ever
            passed.add(SPECIAL, os.path.join(folder, name))
        else:
            names.append(name)
    return names, folders, linked


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():  # one that leads nowhere is an image that cannot be read
        return os.path.exists(entry.path) and not os.path.isfile(entry.path)
    return not entry.is_file()
