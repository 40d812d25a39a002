"""What the tests of the measurement on a GPU have in common: ceilings, and cells as run_cell reports them."""

from benchmarks.loss.targets import ratio_name
from benchmarks.shared import roofline
from benchmarks.shared.candidates import CANDIDATES, CUDA, FLOOR, TRITON, Contender
from benchmarks.shared.cell import Cell
from benchmarks.shared.roofline import Ceilings

CEILINGS = Ceilings(800e12, 4e12)
GPU_NAMES = [name for name in CANDIDATES if name not in ("solo_learn", "bt_kernels", "bt_kernels_graph")]
BASELINES = [name for name in GPU_NAMES if not CANDIDATES[name].ours]
H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"


def times(ms: float) -> dict:
    return {"status": "ok", "ms": {"q20": ms, "q50": ms, "q80": ms}}


def quantiles(value: float, spread: float = 0.0) -> dict:
    return {"q20": value - spread, "q50": value, "q80": value + spread}


def gpu_cell(n: int, d: int, judged: str, **ratios: float) -> dict:
    """Ratios of, or to, the judged candidate."""
    contender = CANDIDATES[judged].contender
    entries = {name: times(1.5) for name in (contender.called, contender.graph, "official", FLOOR)}
    entries[contender.called]["peak_bytes"] = 8 * n * d
    return {
        "n": n,
        "d": d,
        "embeddings_bytes": 4 * n * d,
        "candidates": entries,
        "ratios": {ratio_name(key, judged): quantiles(value) for key, value in ratios.items()},
        "roofline": roofline.roofline(Cell(n, d, "bfloat16", "cuda"), CEILINGS)._asdict(),
        "targets": [],
    }


def cell_of_both(n: int, d: int, ratio: float, spread: float = 0.02) -> dict:
    """Measured with both backends, triton's time over cuda's as given."""
    cell = gpu_cell(n, d, CUDA.graph)
    cell["candidates"] |= {name: times(1.5 * ratio) for name in (TRITON.called, TRITON.graph)}
    for over, under in ((TRITON.called, CUDA.called), (TRITON.graph, CUDA.graph)):
        cell["ratios"][f"{over}/{under}"] = quantiles(ratio, spread)
    return cell


def names_of(contender: Contender) -> list[str]:
    return [contender.called, contender.graph]
