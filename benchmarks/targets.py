"""What bt_kernels is held to: a table for CPUs, one for GPUs. A cell is marked against these; nothing is a result."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.candidates import FLOOR, GRAPH, OURS
from benchmarks.cell import Cell

MB = 1e6


class Target(NamedTuple):
    key: str  # column of the table it is marked in
    text: str
    applies: Callable[[int, int], bool]  # (N, D)
    limit: Callable[[dict], float]  # of a measured cell
    at_least: bool  # the value has to be at least, or at most, the limit
    judged: str = OURS  # or GRAPH


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


class GpuGoal(NamedTuple):
    """For bfloat16 at one (N, D): times faster than each, and times the roofline at most."""

    official_float32: float
    official_compiled: float
    gram_compiled: float | None
    roofline: float


GPU_GOALS = {
    (256, 8192): GpuGoal(60, 20, 2, 6),
    (1024, 8192): GpuGoal(20, 6, 1.5, 2.5),
    (2048, 8192): GpuGoal(10, 3, 1.3, 2),
    (4096, 8192): GpuGoal(8, 2, 1.2, 1.7),
    (8192, 4096): GpuGoal(6, 2, None, 1.7),
}
# N * D up to which the host takes longer to launch the kernels than a GPU to run them.
LAUNCH_BOUND = 1024 * 8192
GPU_TEXTS = {
    "official_float32": "at least {}x faster than the official formula in float32",
    "official_compiled": "at least {}x faster than the compiled official formula",
    "gram_compiled": "at least {}x faster than the compiled gram form",
    "roofline": "at most {}x the roofline",
}


def judged_on_gpu(n: int, d: int) -> str:
    """Launch-bound sizes are judged as replayed from a CUDA graph, the others as called."""
    return GRAPH if n * d <= LAUNCH_BOUND else OURS


def gpu_target(n: int, d: int, key: str, limit: float) -> Target:
    judged = judged_on_gpu(n, d)
    how = ", in a CUDA graph" if judged == GRAPH else ""
    text = f"{GPU_TEXTS[key].format(limit)} at N = {n}, D = {d}{how}"
    return Target(key, text, lambda *shape: shape == (n, d), lambda cell: limit, key != "roofline", judged)


GPU_TARGETS = (
    *(
        gpu_target(n, d, key, limit)
        for (n, d), goal in GPU_GOALS.items()
        for key, limit in goal._asdict().items()
        if limit is not None
    ),
    Target(
        "memory",
        "peak-memory delta at most 3x the embeddings",
        lambda n, d: True,
        lambda cell: 3 * cell["embeddings_bytes"],
        False,
    ),
)
IN_ALL = Target("in_all", "within 3 GB in all at N = 256, D = 262144", lambda n, d: True, lambda cell: 3e9, False)


def targets_for(cell: Cell) -> tuple[Target, ...]:
    """On a GPU bfloat16 alone is judged."""
    if not cell.on_gpu:
        return TARGETS
    return GPU_TARGETS if cell.dtype == "bfloat16" else ()


def value(target: Target, cell: dict) -> float | None:
    """The measured number that a target is about; None where it was not measured."""
    key, judged = target.key, target.judged
    if key == "memory":
        return cell["candidates"].get(judged, {}).get("peak_bytes")
    ratios = cell["ratios"].get(f"{judged}/{key}" if key in (FLOOR, "roofline") else f"{key}/{judged}")
    return ratios["q50"] if ratios else None


def judge(target: Target, found: float, cell: dict) -> dict:
    limit = target.limit(cell)
    met = found >= limit if target.at_least else found <= limit
    return {"key": target.key, "text": target.text, "value": found, "limit": limit, "met": met}


def verdicts(cell: dict, targets: tuple[Target, ...]) -> list[dict]:
    """Those of the targets that apply to a measured cell and could be measured in it."""
    found = [(t, value(t, cell)) for t in targets if t.applies(cell["n"], cell["d"])]
    return [judge(t, v, cell) for t, v in found if v is not None]
