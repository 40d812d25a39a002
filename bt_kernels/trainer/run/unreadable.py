"""The images of a run that could not be read, by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from bt_kernels.trainer.run.files import writing


class UnreadableImages:
    """A file with a name a line, each once; it is made with the first one, which is said on stderr.

    Args:
        path: The file; names that a run wrote before it was resumed are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = False
        self._known: set[str] | None = None

    def add(self, names: Iterable[str]) -> None:
        """Write down the names that are new.

        Raises:
            TrainerError: the disk refuses.
        """
        names = list(names)
        if not names:
            return
        with writing(self._path):
            if self._known is None:
                text = self._path.read_text(errors="surrogateescape") if self._path.exists() else ""
                self._known = set(text.splitlines())
            lines = [" ".join(name.splitlines()) for name in names]
            new = [line for line in dict.fromkeys(lines) if line not in self._known]
            with self._path.open("a", errors="surrogateescape") as file:  # file names are bytes
                file.writelines(f"{line}\n" for line in new)
            self._known.update(new)
        if not self._said:
            self._said = True
            tqdm.write(  # beside a progress bar, if there is one
                f"warning: {names[0]} cannot be read, and another image takes its place; all such images are "
                f"named in {self._path}",
                file=sys.stderr,
            )
