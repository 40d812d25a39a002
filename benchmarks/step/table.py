"""The training-step benchmark on the terminal and as CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path

from benchmarks.step.losses import OURS, STEP_LOSSES

FIELDS = (
    "n",
    "d",
    "projector",
    "image_size",
    "network",
    "dtype",
    "candidate",
    "status",
    *(f"{what}_{q}" for what in ("ms", "loss_ms") for q in ("q20", "q50", "q80")),
    *("rounds", "loss_share", "step_over_bt_kernels", "peak_bytes", "loss_error", "gradient_error", "reason"),
)


def header() -> str:
    title = (
        f"{'D':>7}  {'loss':<20}{'step ms':>9}{'q20':>9}{'q80':>9}{'x ours':>8}{'loss ms':>9}{'share':>8}"
        f"{'peak GB':>9}{'error':>9}"
    )
    return f"{title}\n{'-' * len(title)}"


def rows(cell: dict) -> Iterator[str]:
    for name, entry in cell["candidates"].items():
        start = f"{cell['d']:>7}  {STEP_LOSSES[name].label:<20}"
        if "ms" not in entry:
            yield f"{start}{entry['status']}: {entry.get('reason', 'wrong numbers')}"
            continue
        times = "".join(f"{entry['ms'][q]:>9.1f}" for q in ("q50", "q20", "q80"))
        over = 1.0 if name == OURS else cell["ratios"].get(f"{name}/{OURS}", {}).get("q50")
        peak = f"{entry['peak_bytes'] / 1e9:>9.2f}" if "peak_bytes" in entry else f"{'-':>9}"
        yield (
            f"{start}{times}{'-' if over is None else f'{over:.3f}':>8}{entry['loss_ms']['q50']:>9.2f}"
            f"{100 * entry['loss_share']:>7.2f}%{peak}{entry['gradient_error']:>9.1e}"
        )
        if "peak_reason" in entry:
            yield f"{'':9}peak memory not measured: {entry['peak_reason']}"


def largest_lines(found: dict) -> Iterator[str]:
    """What fits, of each loss."""
    for axis, entries in found.items():
        for name, entry in entries.items():
            label = f"  largest {axis} with {STEP_LOSSES[name].label}: "
            if "reason" in entry:
                yield f"{label}{entry['status']}, {entry['reason']}"
            else:
                end = entry["does_not_fit"]
                beyond = "the search's end" if end is None else f"{end} does not fit"
                yield f"{label}{entry['value']} ({beyond})"


def write_csv(path: Path, result: dict) -> None:
    """A line per cell and loss."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        for cell in result["cells"]:
            for name, entry in cell["candidates"].items():
                times = {
                    f"{what}_{q}": value for what in ("ms", "loss_ms") for q, value in entry.get(what, {}).items()
                }
                over = cell["ratios"].get(f"{name}/{OURS}", {}).get("q50")
                writer.writerow({**cell, **entry, **times, "candidate": name, "step_over_bt_kernels": over})
