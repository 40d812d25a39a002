"""What compilers made of the kernels, kept from one run of the tests to the next.

An outcome is found by its key alone, a digest of all that it depends on. Whoever compiles says what that is.
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

MAX_WORKERS = 16  # each may have its own torch and Triton in memory


class Outcomes:
    """In a folder: for each key what was compiled, in JSON, and possibly an object beside it."""

    def __init__(self, folder: Path, most: int = 1000) -> None:
        """most: as many outcomes are kept, the last ones that somebody asked for."""
        self.folder, self.most = folder, most
        self.begun: dict[str, Future[None]] = {}
        self.pool: ProcessPoolExecutor | None = None

    def file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def object(self, key: str) -> Path:
        return self.folder / f"{key}.o"

    def begin(self, key: str, compile_it: Callable[..., dict], *arguments) -> None:
        """Compiles beside the tests, on all cores, where there is no outcome yet.

        Dataclasses in what compile_it returns become dictionaries.
        """
        if key in self.begun or self.file(key).exists():
            return
        if self.pool is None:
            # A fork would inherit torch's threads in whatever state they are. Whoever works beside the tests goes
            # first.
            context = multiprocessing.get_context("spawn")
            workers = min(os.cpu_count() or 1, MAX_WORKERS)
            self.pool = ProcessPoolExecutor(workers, context, os.nice, (10,))
        self.begun[key] = self.pool.submit(keep, self.file(key), compile_it, *arguments)

    def __getitem__(self, key: str) -> dict:
        """Of what was begun. Raises what the compilation raised, and keeps nothing of it."""
        if key in self.begun:
            self.begun[key].result()
        path = self.file(key)
        os.utime(path)
        return json.loads(path.read_text())

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        by_use = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in by_use[: -self.most]:
            path.unlink()
            path.with_suffix(".o").unlink(missing_ok=True)


def keep(path: Path, compile_it: Callable[..., dict], *arguments) -> None:
    text = json.dumps(compile_it(*arguments), default=vars)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)  # another run never reads half of it


def digest(*parts: str | bytes) -> str:
    """Of the parts one by one: their lengths count."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(b"%d:" % len(data) + data)
    return found.hexdigest()
