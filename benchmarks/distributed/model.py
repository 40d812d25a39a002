"""What the loss takes over many ranks, worked out and not measured: python -m benchmarks.distributed --model.

Bytes and FLOPs are those of bt_kernels.distributed.cost and bt_kernels.formulation; the rates below are assumed. A
rank's wire and its multiplications are given by themselves: nothing is said about how far they overlap, about
latencies, or about what the network shares between ranks.
"""

from bt_kernels.distributed.cost import (
    all_reduce_bytes,
    choose_distributed_formulation,
    correlation_bytes,
    features_of,
    gram_bytes,
)
from bt_kernels.formulation import flops

WORLDS, FEATURES, ROWS = (8, 32, 128, 1024), (8192, 32768, 131072), 64
PAPER = (32, 8192)  # Zbontar et al.: N = 2048 over 32 ranks
ITEMSIZE, FLOAT = 2, 4
BYTES_PER_SECOND = {"between machines": 25e9, "over NVLink": 400e9}  # that a rank sends
FLOPS_PER_SECOND = 400e12

ASSUMPTIONS = {
    "rows per rank": ROWS,
    "embeddings": "bfloat16",
    "a rank sends": ", ".join(f"{rate / 1e9:.0f} GB/s {where}" for where, rate in BYTES_PER_SECOND.items()),
    "a rank multiplies": f"{FLOPS_PER_SECOND / 1e12:.0f} TFLOP/s",
    "all-reduce of B bytes": "2 B (W - 1) / W sent by a rank, a ring's",
    "official": "SyncBatchNorm's statistics, and C in 16 bits as under autocast, in which the authors' code runs; "
    "official_float32: C in float32",
    "matrices": "official: C in 16 bits; ours: K_a and K_b, or C, in float32, and the features of all ranks' rows",
    "not in it": "overlap, latency, contention, the exchange of shapes (504 bytes to each other rank)",
}


def official_bytes(world: int, d: int, itemsize: int) -> float:
    """What a rank sends the authors' way, forward and backward: C, itemsize bytes a number, and nn.SyncBatchNorm's
    statistics of both views: 2 D + 1 floats gathered, 2 D added up in the backward."""
    wide = max(FLOAT, itemsize)
    gathered = (world - 1) * (2 * d + 1) * wide
    return all_reduce_bytes(d * d * itemsize, world) + 2 * (gathered + all_reduce_bytes(2 * d * wide, world))


def matrix_bytes(formulation: str, n: int, d: int, world: int) -> int:
    """What our form keeps on a rank for the backward that is not the rank's own embeddings."""
    if formulation == "correlation":
        return d * d * FLOAT
    return 2 * n * n * FLOAT + 2 * n * features_of(d, world, 0) * ITEMSIZE


def setting(world: int, d: int) -> dict:
    """One row of the table, for ROWS rows on each of the ranks."""
    rows, n = (ROWS,) * world, ROWS * world
    taken = choose_distributed_formulation("auto", rows, d, ITEMSIZE, "cuda")
    sent = {
        "official": official_bytes(world, d, ITEMSIZE),
        "official_float32": official_bytes(world, d, FLOAT),
        "gram": max(gram_bytes(rows, d, rank, ITEMSIZE) for rank in range(world)),
        "correlation": correlation_bytes(rows, d, ITEMSIZE),
    }
    sent["ours"] = sent[taken]
    multiplied = {"official": flops("correlation", n, d) / world, "ours": flops(taken, n, d) / world}
    return {
        "world": world,
        "n": n,
        "d": d,
        "auto": taken,
        "bytes": sent,
        "ms_on_the_wire": {
            wire: {who: 1e3 * sent[who] / rate for who in multiplied} for wire, rate in BYTES_PER_SECOND.items()
        },
        "ms_of_flops": {who: 1e3 * count / FLOPS_PER_SECOND for who, count in multiplied.items()},
        "matrix_bytes": {"official": d * d * ITEMSIZE, "ours": matrix_bytes(taken, n, d, world)},
    }


def settings() -> list[dict]:
    return [setting(world, d) for d in FEATURES for world in WORLDS]


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


COLUMNS = (
    ("official", lambda row: short(row["bytes"]["official"] / 1e6)),
    ("off.fp32", lambda row: short(row["bytes"]["official_float32"] / 1e6)),
    ("gram", lambda row: short(row["bytes"]["gram"] / 1e6)),
    ("corr.", lambda row: short(row["bytes"]["correlation"] / 1e6)),
    ("auto", lambda row: {"gram": "gram", "correlation": "corr."}[row["auto"]]),
    ("off./ours", lambda row: short(row["bytes"]["official"] / row["bytes"]["ours"])),
    *(
        (who, lambda row, wire=wire, key=key: short(row["ms_on_the_wire"][wire][key]))
        for wire in BYTES_PER_SECOND
        for who, key in (("official", "official"), ("ours", "ours"))
    ),
    ("official", lambda row: short(row["ms_of_flops"]["official"])),
    ("ours", lambda row: short(row["ms_of_flops"]["ours"])),
    ("official", lambda row: short(row["matrix_bytes"]["official"] / 1e6)),
    ("ours", lambda row: short(row["matrix_bytes"]["ours"] / 1e6)),
)
GROUPS = (
    ("MB that a rank sends in a step", 6),
    *((f"ms at {rate / 1e9:.0f} GB/s", 2) for rate in BYTES_PER_SECOND.values()),
    ("ms of FLOPs", 2),
    ("matrices, MB", 2),
)
WIDTH = 10


def table(rows: list[dict]) -> str:
    lines = ["Modelled, not measured.", *(f"  {name}: {value}" for name, value in ASSUMPTIONS.items()), ""]
    lines.append(" " * 22 + "".join(f"{name:>{WIDTH * count}}" for name, count in GROUPS))
    lines.append(f"{'W':>6}{'N':>8}{'D':>8}" + "".join(f"{title:>{WIDTH}}" for title, _ in COLUMNS))
    for row in rows:
        mark = " *" if (row["world"], row["d"]) == PAPER else ""
        cells = "".join(f"{show(row):>{WIDTH}}" for _, show in COLUMNS)
        lines.append(f"{row['world']:>6}{row['n']:>8}{row['d']:>8}{cells}{mark}")
    return "\n".join([*lines, "", "* the paper's batch and features, over its number of GPUs"])
