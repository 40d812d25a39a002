"""What bt_kernels is held to: on CPUs, on GPUs, and more of the cuda backend there. A cell is marked against
these; nothing is a result."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.shared.candidates import AS_ASKED, CANDIDATES, CUDA, FLOOR, OURS, TRITON, Contender
from benchmarks.shared.cell import Cell

MB, MIB = 1e6, 2**20


class Target(NamedTuple):
    key: str  # column of the table it is marked in
    text: str
    applies: Callable[[int, int], bool]  # (N, D)
    limit: Callable[[dict], float]  # of a measured cell
    at_least: bool  # the value has to be at least, or at most, the limit
    judged: str = OURS  # the candidate
    operands: str | None = None  # that it is set for; None: all
    device: str = ""  # part of the name of the GPU that it is set for


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


def judged_on_gpu(n: int, d: int, contender: Contender = AS_ASKED) -> str:
    """Launch-bound sizes are judged as replayed from a CUDA graph, the others as called."""
    return contender.graph if n * d <= LAUNCH_BOUND else contender.called


def of_backend(contender: Contender, text: str) -> str:
    return f"{contender.backend}: {text}" if contender.backend else text


def gpu_target(contender: Contender, n: int, d: int, key: str, limit: float) -> Target:
    judged = judged_on_gpu(n, d, contender)
    how = ", in a CUDA graph" if judged == contender.graph else ""
    text = of_backend(contender, f"{GPU_TEXTS[key].format(limit)} at N = {n}, D = {d}{how}")
    return Target(
        key, text, lambda *shape: shape == (n, d), lambda cell: limit, key != "roofline", judged, "bfloat16"
    )


def gpu_targets(contender: Contender) -> tuple[Target, ...]:
    """What any backend is held to."""
    goals = tuple(
        gpu_target(contender, n, d, key, limit)
        for (n, d), goal in GPU_GOALS.items()
        for key, limit in goal._asdict().items()
        if limit is not None
    )
    memory = Target(
        "memory",
        of_backend(contender, "peak-memory delta at most 3x the embeddings"),
        lambda n, d: True,
        lambda cell: 3 * cell["embeddings_bytes"],
        False,
        contender.called,
        "bfloat16",
    )
    return *goals, memory


def cuda_target(
    key: str,
    text: str,
    applies: Callable[[int, int], bool],
    limit: float,
    at_least: bool = False,
    operands: str | None = "bfloat16",
    device: str = "",
) -> tuple[Target, ...]:
    """Of the cuda backend: one target for the launch-bound of the shapes, one for the others."""

    def judged_as(judged: str, how: str) -> Target:
        def applies_so(n: int, d: int) -> bool:
            return applies(n, d) and judged_on_gpu(n, d, CUDA) == judged

        name = of_backend(CUDA, text) + how
        return Target(key, name, applies_so, lambda cell: limit, at_least, judged, operands, device)

    return judged_as(CUDA.graph, ", in a CUDA graph"), judged_as(CUDA.called, "")


CUDA_TARGETS = (
    # An absolute time means nothing on another GPU; the roofline is measured on the one at hand.
    *cuda_target(
        "time",
        "at most 25 us at N = 256, D = 8192 on an H200",
        lambda n, d: (n, d) == (256, 8192),
        25e-3,
        device="H200",
    ),
    *cuda_target(
        "roofline",
        "at most 1.7x the roofline at N = 1024, D = 8192",
        lambda n, d: (n, d) == (1024, 8192),
        1.7,
    ),
    *cuda_target("roofline", "at most 1.4x the roofline, N >= 2048", lambda n, d: n >= 2048, 1.4),
    *cuda_target("roofline", "at most 1.6x the roofline of tf32", lambda n, d: True, 1.6, operands="tf32"),
    *cuda_target("triton", "faster than triton", lambda n, d: True, 1.0, at_least=True, operands=None),
    Target(
        "memory",
        "cuda: peak-memory delta at most 3x the embeddings + 8 MiB",
        lambda n, d: True,
        lambda cell: 3 * cell["embeddings_bytes"] + 8 * MIB,
        False,
        CUDA.called,
    ),
    Target(
        "memory",
        "cuda: within 6 GB, embeddings included, at N = 256, D = 1048576",
        lambda n, d: (n, d) == (256, 1 << 20),
        lambda cell: 6e9 - cell["embeddings_bytes"],
        False,
        CUDA.called,
        "bfloat16",
    ),
)
GPU_TARGETS = (*gpu_targets(AS_ASKED), *gpu_targets(TRITON), *CUDA_TARGETS)
IN_ALL = Target("in_all", "within 3 GB in all at N = 256, D = 262144", lambda n, d: True, lambda cell: 3e9, False)


def targets_for(cell: Cell, device: str) -> tuple[Target, ...]:
    """device: its name."""
    if not cell.on_gpu:
        return TARGETS
    return tuple(t for t in GPU_TARGETS if t.operands in (None, cell.operands) and t.device in device)


def ratio_name(key: str, judged: str) -> str:
    """In the result file: the judged candidate over what is a floor, everything else over the judged."""
    if key in (FLOOR, "roofline"):
        return f"{judged}/{key}"
    if key == TRITON.backend:  # called over called, graph over graph
        key = TRITON.graph if CANDIDATES[judged].graph else TRITON.called
    return f"{key}/{judged}"


def value(target: Target, cell: dict) -> float | None:
    """The measured number that a target is about; None where it was not measured."""
    entry = cell["candidates"].get(target.judged, {})
    if target.key == "memory":
        return entry.get("peak_bytes")
    if target.key == "time":
        return entry.get("ms", {}).get("q50")
    ratios = cell["ratios"].get(ratio_name(target.key, target.judged))
    return ratios["q50"] if ratios else None


def judge(target: Target, found: float, cell: dict) -> dict:
    limit = target.limit(cell)
    met = found >= limit if target.at_least else found <= limit
    verdict = {"key": target.key, "judged": target.judged, "text": target.text}
    return verdict | {"value": found, "limit": limit, "met": met}


def verdicts(cell: dict, targets: tuple[Target, ...]) -> list[dict]:
    """Those of the targets that apply to a measured cell and could be measured in it."""
    found = [(t, value(t, cell)) for t in targets if t.applies(cell["n"], cell["d"])]
    return [judge(t, v, cell) for t, v in found if v is not None]
