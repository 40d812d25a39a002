"""How far an evaluation has come: bars on a terminal, else a line once a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LONGEST_SILENCE = 60.0  # seconds between two lines where there is no bar


class _Lines:
    """What all loops share, so that those within others do not add lines."""

    latest = time.perf_counter()


def bar(iterable: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield the items, and show on stderr how many of them are done.

    Args:
        iterable: The items.
        total: How many there are.
        description: Says by itself where in the evaluation this is; a line may be all that is seen.
    """
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=description, leave=False)
        return
    start = time.perf_counter()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.perf_counter()
        if now - _Lines.latest >= LONGEST_SILENCE:
            left = tqdm.format_interval((total - done) * (now - start) / done)
            print(f"{description}: {done} of {total}, {left} left", file=sys.stderr, flush=True)
            _Lines.latest = now
