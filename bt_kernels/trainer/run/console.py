"""The console, which may go before the run does: a terminal that is closed, a pipe that nobody reads any more."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, cast

GONE = (errno.EIO, errno.EPIPE)  # of a terminal, of a pipe


class _Output:
    """An output stream; from the moment on that nobody is there to read it, what is written to it is lost."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._outlived():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._outlived():
            self._stream.flush()

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in GONE:
                raise
            # The descriptor itself: the stream holds what it could not write, and Python flushes it at the end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def outlived_console() -> Iterator[None]:
    """While it lasts, a console that is gone ends nothing: metrics and checkpoints are in files."""
    stdout, stderr = _Output(sys.stdout), _Output(sys.stderr)
    with redirect_stdout(cast(IO[str], stdout)), redirect_stderr(cast(IO[str], stderr)):
        yield
