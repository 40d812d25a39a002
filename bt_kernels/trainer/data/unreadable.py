"""The images of a run that could not be read, by name, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from bt_kernels.trainer.data.decoding import Unreadable
from bt_kernels.trainer.run.files import writing


class UnreadableImages:
    """A file of lines: a name, a tab, the reason; each name once.

    It is made with the first one, which is said on stderr.

    Args:
        path: The file; names that a run wrote before it was resumed are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = False
        self._known: set[str] | None = None

    def add(self, images: Iterable[Unreadable]) -> None:
        """Write down those whose names are new.

        Raises:
            TrainerError: the disk refuses.
        """
        images = list(images)
        if not images:
            return
        with writing(self._path):
            if self._known is None:
                text = self._path.read_text(errors="surrogateescape") if self._path.exists() else ""
                self._known = {line.partition("\t")[0] for line in text.splitlines()}
            new: dict[str, str] = {}
            for image in images:
                if (name := _on_a_line(image.name)) not in self._known:
                    new.setdefault(name, _on_a_line(image.reason))
            with self._path.open("a", errors="surrogateescape") as file:  # file names are bytes
                file.writelines(f"{name}\t{reason}\n" for name, reason in new.items())
            self._known.update(new)
        if not self._said:
            self._said = True
            tqdm.write(  # beside a progress bar, if there is one
                f"warning: {images[0].name} cannot be read ({images[0].reason}), and another image takes its "
                f"place; all such images are named in {self._path}",
                file=sys.stderr,
            )


def _on_a_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("\t", " ")
