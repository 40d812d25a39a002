"""What bt_kernels is held to, in one table. A cell is marked against these; nothing here is a result."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.candidates import FLOOR, OURS

MB = 1e6


class Target(NamedTuple):
    key: str  # column of the table it is marked in
    text: str
    applies: Callable[[int, int], bool]  # (N, D)
    limit: Callable[[dict], float]  # of a measured cell
    at_least: bool  # the value has to be at least, or at most, the limit


TARGETS = (
    Target(
        "floor", "at most 1.25x the GEMM-only floor, N >= 256", lambda n, d: n >= 256, lambda cell: 1.25, False
    ),
    Target("floor", "at most 1.6x the GEMM-only floor, N = 64", lambda n, d: n == 64, lambda cell: 1.6, False),
    Target(
        "official",
        "at least 48x faster than the official formula at N = 256, D = 8192",
        lambda n, d: (n, d) == (256, 8192),
        lambda cell: 48.0,
        True,
    ),
    Target(
        "gram_compiled",
        "at least 1.3x faster than the compiled gram form at N = 256, D = 8192",
        lambda n, d: (n, d) == (256, 8192),
        lambda cell: 1.3,
        True,
    ),
    Target(
        "official",
        "no slower than the official formula at N >= D",
        lambda n, d: n >= d,
        lambda cell: 1.0,
        True,
    ),
    Target(
        "memory",
        "peak-memory delta at most 3x the embeddings + 8 MB",
        lambda n, d: True,
        lambda cell: 3 * cell["embeddings_bytes"] + 8 * MB,
        False,
    ),
)
IN_ALL = Target("in_all", "within 3 GB in all at N = 256, D = 262144", lambda n, d: True, lambda cell: 3e9, False)


def value(key: str, cell: dict) -> float | None:
    """The measured number that a target is about; None where it was not measured."""
    if key == "memory":
        return cell["candidates"].get(OURS, {}).get("peak_bytes")
    ratios = cell["ratios"].get(f"{OURS}/{FLOOR}" if key == "floor" else f"{key}/{OURS}")
    return ratios["q50"] if ratios else None


def judge(target: Target, found: float, cell: dict) -> dict:
    limit = target.limit(cell)
    met = found >= limit if target.at_least else found <= limit
    return {"key": target.key, "text": target.text, "value": found, "limit": limit, "met": met}


def verdicts(cell: dict) -> list[dict]:
    """The targets that apply to a measured cell and could be measured in it."""
    found = [(t, value(t.key, cell)) for t in TARGETS if t.applies(cell["n"], cell["d"])]
    return [judge(t, v, cell) for t, v in found if v is not None]
