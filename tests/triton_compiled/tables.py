"""The tables of heuristics.py, whatever they are called, and the GPUs that they are for."""

from bt_kernels.backends.triton import heuristics
from bt_kernels.backends.triton.heuristics import Gpu

TABLES = {name: table for name, table in vars(heuristics).items() if isinstance(table, dict) and "ieee" in table}
ITEMSIZES = {"16-bit": 2, "tf32": 4, "ieee": 4}

# A100, H100 and B200 by architecture. The two with little shared memory stand for sm_86, sm_89 and sm_120, and for
# AMD; what they are given is compiled for sm_80.
GPUS = {80: Gpu(108, 163 << 10), 90: Gpu(132, 227 << 10), 100: Gpu(148, 227 << 10)}
SMALL_GPUS = (Gpu(84, 99 << 10), Gpu(304, 64 << 10))


def batch_sizes(tables: list[dict]) -> list[int]:
    """The largest N of every class that these tables tell apart, and one beyond all of them."""
    limits = {limit for table in tables for rows in table.values() for limit in rows if limit}
    return sorted({*limits, 2 * max(limits, default=512)})


def standardize_sizes() -> list[int]:
    """The largest N of every block of standardize."""
    blocks = {heuristics.standardize_block(n): n for n in range(2, 2 * heuristics.FUSED_MAX_N + 1)}
    return list(blocks.values())
