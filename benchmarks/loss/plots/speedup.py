"""The map of speed-ups over (N, D): how many times faster than the official formula."""

import math
from collections import Counter

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from benchmarks.loss.plots import selection
from benchmarks.loss.plots.selection import ratios_of
from benchmarks.shared import style
from benchmarks.shared.candidates import CANDIDATES

COLORS = LinearSegmentedColormap.from_list("speedup", ["#c8102e", "#ffffff", "#1f4e79"])
LEAST_SCALE = 4  # the colours reach at least from 1/4 to 4
NO_NUMBER = "#efefef"


def grid_of(cells: list[dict]) -> tuple[list[int], list[int]]:
    """The Ns that have two Ds or more, and the Ds that have two of those Ns or more."""
    count = Counter(cell["n"] for cell in cells)
    ns = sorted(n for n, times in count.items() if times > 1)
    count = Counter(cell["d"] for cell in cells if cell["n"] in ns)
    return ns, sorted(d for d, times in count.items() if times > 1)


def judged(cell: dict, passes: str) -> str | None:
    """The fastest candidate of bt_kernels that was compared with the official formula."""
    found = [name for name, c in CANDIDATES.items() if c.ours and f"official/{name}" in ratios_of(cell, passes)]
    return max(found, key=lambda name: ratios_of(cell, passes)[f"official/{name}"]["q50"], default=None)


def speedup(cell: dict | None, passes: str) -> float | str:
    """The ratio, or why there is none."""
    if cell is None:
        return ""
    if name := judged(cell, passes):
        return ratios_of(cell, passes)[f"official/{name}"]["q50"]
    reason = cell["candidates"].get("official", {}).get("reason", "")
    return "does\nnot fit" if reason.startswith("does not fit") else "too\nslow" if "too slow" in reason else ""


def draw_map(axes: Axes, cells: list[dict], ns: list[int], ds: list[int], passes: str) -> None:
    by_shape = {(cell["n"], cell["d"]): cell for cell in cells}
    values = {(n, d): speedup(by_shape.get((n, d)), passes) for n in ns for d in ds}
    numbers = [value for value in values.values() if isinstance(value, float)]
    limit = math.log(max([LEAST_SCALE, *numbers, *(1 / value for value in numbers)]))
    norm = TwoSlopeNorm(0, -limit, limit)
    for (n, d), value in values.items():
        x, y = ds.index(d), ns.index(n)
        number = isinstance(value, float)
        color = COLORS(norm(math.log(value))) if number else NO_NUMBER if value else "white"
        axes.fill_between([x, x + 1], y, y + 1, color=color, edgecolor="white", linewidth=1.5)
        dark = number and abs(math.log(value)) > 0.55 * limit
        text = f"{value:.0f}×" if number and value >= 10 else f"{value:.2g}×" if number else value
        axes.text(
            x + 0.5, y + 0.5, text, ha="center", va="center", color="white" if dark else "#222222",
            fontsize=10 if number else 8, linespacing=1.0,
        )  # fmt: skip
    axes.set(xlim=(0, len(ds)), ylim=(0, len(ns)))
    axes.set_xticks([i + 0.5 for i in range(len(ds))], [style.short(d) for d in ds])
    axes.set_yticks([i + 0.5 for i in range(len(ns))], [style.short(n) for n in ns])
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("features D")
    style.panel_title(axes, passes)


def draw(result: dict) -> Figure | None:
    """A map for each pass; None for cells that make no grid."""
    cells = result["cells"]
    ns, ds = grid_of(cells)
    passes = [p for p in selection.measured_passes(cells) if any(judged(cell, p) for cell in cells)]
    if len(ns) < 2 or len(ds) < 2 or not passes:
        return None
    drawn, [grid] = style.panels(
        1, len(passes), "Times faster than the official formula", style.source(result), label_room=0.35
    )
    for axes, name in zip(grid, passes, strict=True):
        draw_map(axes, cells, ns, ds, name)
    grid[0].set_ylabel("batch size N")
    return drawn
