"""The distance from the floor: how many times the bare matrix products' time each takes."""

from matplotlib.figure import Figure

from benchmarks.loss.plots import selection
from benchmarks.loss.plots.selection import Line, entry_of
from benchmarks.shared import style
from benchmarks.shared.candidates import CANDIDATES, FLOOR
from benchmarks.shared.style import Curve

BASELINES = ("gram", "gram_compiled")  # the others are as far away as D / N
FORWARD = {"linestyle": style.DASHED, "linewidth": 1.6, "zorder": 4}


def over_floor(cell: dict, name: str, passes: str) -> dict | None:
    """Quantiles of the candidate's time over the floor's; of a baseline the quotient of the medians alone."""
    if CANDIDATES[name].ours:
        return selection.ratios_of(cell, passes).get(f"{name}/{FLOOR}")
    entries = entry_of(cell, name, passes), entry_of(cell, FLOOR, passes)
    if not all("ms" in entry for entry in entries):
        return None
    return {"q50": entries[0]["ms"]["q50"] / entries[1]["ms"]["q50"]}


def bands(line: Line, name: str, passes: str) -> tuple[list[int], list[dict]]:
    pairs = [(cell[line.axis], over_floor(cell, name, passes)) for cell in line.cells]
    pairs = [(size, found) for size, found in pairs if found]
    return [size for size, _ in pairs], [found for _, found in pairs]


def draw(result: dict) -> Figure | None:
    found = selection.lines(result["cells"])
    drawn_names = [name for name in style.STYLE if CANDIDATES[name].ours or name in BASELINES]
    panels: list[tuple[Line, list[Curve], list[list[dict]]]] = []
    for line in found:
        shown, ranges = [], []
        for passes in selection.measured_passes(line.cells):
            for name in drawn_names:
                sizes, quantiles = bands(line, name, passes)
                alone = passes == "forward alone"
                if len(sizes) < 2 or (alone and name in BASELINES):
                    continue
                label = f"{CANDIDATES[name].label}{', forward' if alone else ''}"
                look = style.STYLE[name] | (FORWARD if alone else {})
                shown.append(
                    Curve(label, look, sizes, [q["q50"] for q in quantiles], not alone and name in style.BOLD)
                )
                ranges.append(quantiles)
        if shown:
            panels.append((line, shown, ranges))
    if not panels:
        return None
    subtitle = (
        f"{style.source(result)}; forward + backward unless it says forward; shaded: 20 to 80 % of the rounds"
    )
    drawn, [grid] = style.panels(1, len(panels), "Times the bare matrix products", subtitle)
    for axes, (line, shown, ranges) in zip(grid, panels, strict=True):
        axes.axhline(1, color=style.GREY, linewidth=1.4, linestyle=style.DASHED, marker="")
        style.draw_curves(axes, shown)
        for curve, quantiles in zip(shown, ranges, strict=True):
            if "q20" in quantiles[0]:
                low, high = ([q[key] for q in quantiles] for key in ("q20", "q80"))
                axes.fill_between(curve.x, low, high, color=curve.style["color"], alpha=0.15, linewidth=0)
        axes.set_ylim(0, min(max(max(curve.y) for curve in shown) * 1.08, 8))
        style.panel_title(axes, line.title)
        style.size_axis(axes, (cell[line.axis] for cell in line.cells), line.axis_name)
        style.label_curves(axes, shown)
    grid[0].set_ylabel("time / time of the products")
    return drawn
