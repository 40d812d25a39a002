"""Time and peak memory against D and against N."""

from collections.abc import Callable

from matplotlib.figure import Figure

from benchmarks.loss.plots import selection
from benchmarks.loss.plots.selection import Line, entry_of
from benchmarks.shared import style
from benchmarks.shared.candidates import CANDIDATES
from benchmarks.shared.style import Curve

ROOFLINE = {"color": "#999999", "linewidth": 1.4, "linestyle": (0, (1, 2)), "markersize": 0}
EMBEDDINGS = {"color": style.GREY, "linewidth": 1.4, "linestyle": (0, (1, 2)), "markersize": 0}


def milliseconds(entry: dict) -> float | None:
    return entry.get("ms", {}).get("q50")


def megabytes(entry: dict) -> float | None:
    peak = entry.get("peak_bytes", 0)
    return peak / 1e6 if peak > 0 else None


def curves(line: Line, passes: str, value_of: Callable[[dict], float | None]) -> list[Curve]:
    found = []
    for name in (name for name in style.STYLE if name in CANDIDATES):
        cells = [cell for cell in line.cells if name in cell["candidates"]]
        values = [value_of(entry_of(cell, name, passes)) for cell in cells]
        points = [(cell[line.axis], value) for cell, value in zip(cells, values, strict=True) if value is not None]
        if len(points) > 1:
            x, y = map(list, zip(*points, strict=True))
            after = [cell for cell in cells if cell[line.axis] > x[-1]]
            cut = bool(after) and after[0]["candidates"][name].get("status") == "skipped"
            found.append(Curve(CANDIDATES[name].label, style.STYLE[name], x, y, name in style.BOLD, cut))
    return found


def time_curves(line: Line, passes: str) -> list[Curve]:
    floors = [(cell[line.axis], cell["roofline"]["ms"]) for cell in line.cells if "roofline" in cell]
    own = [Curve("roofline", ROOFLINE, *map(list, zip(*floors, strict=True)))] if floors else []
    return curves(line, passes, milliseconds) + (own if passes == "forward + backward" else [])


def memory_curves(line: Line, passes: str) -> list[Curve]:
    found = curves(line, passes, megabytes)
    sizes = [cell[line.axis] for cell in line.cells]
    own = Curve("the embeddings", EMBEDDINGS, sizes, [cell["embeddings_bytes"] / 1e6 for cell in line.cells])
    return [own, *found] if found else []


def draw(result: dict, what: str) -> Figure | None:
    """what: "time" or "memory"; a row of panels for each pass, a column for each axis."""
    curves_of, unit = (time_curves, "milliseconds") if what == "time" else (memory_curves, "peak MB")
    found = selection.lines(result["cells"])
    rows = [
        (passes, [(line, shown) for line in found if (shown := curves_of(line, passes))])
        for passes in selection.measured_passes(result["cells"])
    ]
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    title = "Time of the Barlow Twins loss" if what == "time" else "Memory of the loss beyond the embeddings"
    subtitle = style.source(result)
    if any(curve.cut for _, panels in rows for _, shown in panels for curve in shown):
        subtitle += "; × the next size does not fit or takes too long"
    drawn, grid = style.panels(len(rows), max(len(panels) for _, panels in rows), title, subtitle)
    for axes_of_row, (passes, panels) in zip(grid, rows, strict=True):
        for axes in axes_of_row[len(panels) :]:
            axes.remove()
        for index, (axes, (line, shown)) in enumerate(zip(axes_of_row, panels, strict=False)):
            style.draw_curves(axes, shown)
            style.panel_title(axes, f"{passes}, {line.title}")
            style.logarithmic(axes)
            axes.set_ylim(*style.log_limits([value for curve in shown for value in curve.y]))
            style.size_axis(axes, (cell[line.axis] for cell in line.cells), line.axis_name)
            if index == 0:
                axes.set_ylabel(unit)
            style.label_curves(axes, shown)
    return drawn
