"""The picture of the accuracy benchmark: errors against what the views share, a line per implementation.

Imported where it is drawn: it needs matplotlib.
"""

import math
from pathlib import Path

from matplotlib import pyplot
from matplotlib.ticker import NullLocator

from benchmarks.accuracy.implementations import ROUNDED
from benchmarks.accuracy.table import groups
from benchmarks.shared.candidates import OURS
from benchmarks.shared.style import (
    DASHED,
    GREY,
    RC,
    STYLE,
    Curve,
    draw_curves,
    label_curves,
    log_limits,
    panel_title,
    panels,
)

METRICS = {"loss_error": "loss, relative error", "gradient_error": "gradient, relative L2 error"}
LABELS = {
    "official": "official, autocast",
    "monai": "MONAI",
    "gram": "gram, plain torch",
    "official_float32": "official, float32",
    ROUNDED: "the truth, rounded",
}
STYLES = STYLE | {ROUNDED: {"color": GREY, "linewidth": 1.4, "linestyle": DASHED, "markersize": 0, "zorder": 6}}


def curves(cells: list[dict], metric: str) -> list[Curve]:
    """Of one kind of operands. Positions are the strengths' indices: they get denser towards 1."""
    labels = LABELS | {cells[0]["auto"]: "bt_kernels"}
    if cells[0]["operands"] in ("float32", "tf32"):
        labels["official"] = "official"
    found = []
    for name, label in labels.items():
        values = [cell["candidates"].get(name, {}).get(metric, math.nan) for cell in cells]
        points = [(index, value) for index, value in enumerate(values) if math.isfinite(value) and value > 0]
        if points:
            ours = name == cells[0]["auto"]
            found.append(Curve(label, STYLES[OURS if ours else name], *map(list, zip(*points, strict=True)), ours))
    return found


def chosen(result: dict) -> dict[str, list[dict]]:
    """For each kind of operands the cells that are drawn: the first shape, whitened features."""
    found: dict[str, list[dict]] = {}
    for (operands, _, _, features), cells in groups(result).items():
        if features == "whitened":
            found.setdefault(operands, cells)
    return found


def draw(result: dict, path: Path) -> Path:
    """Writes the picture."""
    columns = chosen(result)
    first = next(iter(columns.values()))[0]
    machine = result["machine"]
    where = f"{machine['device']}, torch {result['versions']['torch']}"
    under = f"N = {first['n']}, D = {first['d']}, whitened features, median of {result['seeds']} draws; {where}"
    with pyplot.rc_context(RC):
        title = "Error of the loss against float64, from initialisation to convergence"
        figure, grid = panels(len(METRICS), len(columns), title, under)
        for row, (metric, unit) in zip(grid, METRICS.items(), strict=True):
            found = [curves(cells, metric) for cells in columns.values()]
            limits = log_limits([value for drawn in found for curve in drawn for value in curve.y])
            for axes, (operands, cells), drawn in zip(row, columns.items(), found, strict=True):
                draw_curves(axes, drawn)
                axes.set(yscale="log", ylim=limits)
                axes.yaxis.set_minor_locator(NullLocator())
                axes.set_xticks(range(len(cells)), [f"{cell['strength']:g}" for cell in cells])
                axes.set_xlabel("what the two views share (C_ii, about)")
                panel_title(axes, operands)
                label_curves(axes, drawn)
            row[0].set_ylabel(unit)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
    return path
