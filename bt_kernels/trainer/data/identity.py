"""What tells a data set from another one, wherever it lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class DataIdentity:
    """What the order depends on that a run's images come in.

    Args:
        count: Number of files or images.
        what: What is counted, "images" or "shards".
        fingerprint: SHA-256 of their names, in order, in hexadecimal digits.
    """

    count: int
    what: str
    fingerprint: str

    def difference(self, other: DataIdentity) -> str:
        """Say what these data are that the other ones are not."""
        if (self.count, self.what) != (other.count, other.what):
            return f"{self.count} {self.what}, not {other.count}"
        names = "names or sizes" if self.what == "shards" else "names"
        return f"{self.count} {self.what} as before, of other {names}"


def identity_of(names: Iterable[str], count: int, what: str = "images") -> DataIdentity:
    """Return the identity of data.

    Args:
        names: What each is called, independent of the folder they lie in; of data without names, the data set's.
        count: How many there are.
        what: What is counted.
    """
    fingerprint = hashlib.sha256()
    for name in names:
        fingerprint.update(os.fsencode(name) + b"\0")  # which is in no file's name
    return DataIdentity(count, what, fingerprint.hexdigest())
