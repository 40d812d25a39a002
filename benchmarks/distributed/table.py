"""The table on the terminal, a row for each cell as it finishes, and what ours is held to over ranks."""

import math

from benchmarks.distributed.candidates import LABELS, OFFICIAL, OTHER, OURS
from benchmarks.distributed.model import short
from benchmarks.distributed.rank import AGREEMENT

TITLES = (
    f"{'W':>3}{'n':>6}{'D':>7}  {'dtype':<9}{'auto':<12}"
    f"{'ours':>9}{'other':>9}{'official':>9}{'off./ours':>10}{'agree %':>8}"
    f"{'ours':>10}{'other':>10}{'official':>10}{'off./ours':>10}"
)
HEADER = f"{'':>37}{'median ms':>27}{'':>18}{'MB that a rank sends':>30}\n{TITLES}\n{'-' * len(TITLES)}"
TARGET_CELL = {"world": 4, "rows": 64, "d": 8192}
LEAST_FEWER_BYTES, LEAST_SPEEDUP = 10.0, 5.0


def time_text(entry: dict) -> str:
    if entry["status"] == "FAIL":
        return "FAIL"
    return short(entry["ms"]["q50"]) if "ms" in entry else "-"


def bytes_text(entry: dict) -> str:
    return short(entry["sent_bytes"] / 1e6) if "sent_bytes" in entry else "-"


def fewer_bytes(cell: dict) -> float | None:
    """How many times more the official way sends."""
    ours, official = (cell["candidates"][name].get("sent_bytes") for name in (OURS, OFFICIAL))
    return official / ours if ours and official else None


def speedup(cell: dict) -> float | None:
    found = cell["ratios"].get(f"{OFFICIAL}/{OURS}")
    return found["q50"] if found else None


def optional(value: float | None) -> str:
    return "-" if value is None else short(value)


def row(cell: dict) -> str:
    entries = [cell["candidates"][name] for name in (OURS, OTHER, OFFICIAL)]
    share = cell["ratios"].get(f"{AGREEMENT}/{OURS}")
    agreement = optional(share and 100 * share["q50"])
    return (
        f"{cell['world']:>3}{cell['rows']:>6}{cell['d']:>7}  {cell['dtype']:<9}{entries[0]['formulation']:<12}"
        + "".join(f"{time_text(entry):>9}" for entry in entries)
        + f"{optional(speedup(cell)):>10}{agreement:>8}"
        + "".join(f"{bytes_text(entry):>10}" for entry in entries)
        + f"{optional(fewer_bytes(cell)):>10}"
    )


def verdicts(cell: dict) -> list[dict]:
    """What the cell says of the targets, which are set for gloo on a CPU in one of the cells."""
    if any(cell[key] != value for key, value in TARGET_CELL.items()) or cell["wire"] != "gloo":
        return []
    where = f"at W = 4, n = 64, D = 8192, {cell['dtype']}"
    asked = (
        (f"at least {LEAST_FEWER_BYTES:.0f}x fewer bytes on the wire", fewer_bytes(cell), LEAST_FEWER_BYTES),
        (f"at least {LEAST_SPEEDUP:.0f}x less time", speedup(cell), LEAST_SPEEDUP),
    )
    return [
        {"text": f"{text} than the official way {where}", "value": value, "limit": limit, "met": value >= limit}
        for text, value, limit in asked
        if value is not None
    ]


def as_modelled(entry: dict) -> bool:
    """Whether a rank sends what bt_kernels.distributed.cost says, and the exchange of shapes."""
    return math.isclose(entry["sent_bytes"], entry["modelled_bytes"] + entry["agreement_bytes"], rel_tol=1e-9)


def target_lines(cells: list[dict]) -> list[str]:
    found = [verdict for cell in cells for verdict in cell["targets"]]
    return [f"  {'ok  ' if v['met'] else 'MISS'} {v['text']}: {short(v['value'])}x" for v in found]


def remarks(cells: list[dict]) -> list[str]:
    """Why a candidate has no time, and where the bytes are not those of the model."""
    lines = []
    for cell in cells:
        where = f"  W = {cell['world']}, n = {cell['rows']}, D = {cell['d']}, {cell['dtype']}"
        for name, entry in cell["candidates"].items():
            if entry["status"] == "skipped":
                lines.append(f"{where}, {LABELS[name]}: {entry['reason']}")
            if entry["status"] == "FAIL":
                same = "" if entry["same_loss_on_every_rank"] else ", and not the same loss on every rank"
                wrong = f"loss {entry['loss_error']:.1e}, gradient {entry['gradient_error']:.1e}"
                lines.append(f"{where}, {LABELS[name]}: relative errors {wrong}{same}")
            if "sent_bytes" in entry and not as_modelled(entry):
                counts = f"{entry['sent_bytes']:.0f} bytes counted, {entry['modelled_bytes']:.0f} modelled"
                lines.append(f"{where}, {LABELS[name]}: {counts}")
    return lines
