"""What the pictures share: colours, panels, titles, and labels at the ends of the curves."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.shared.candidates import CUDA, FLOOR, GRAPH, OURS, TRITON

RED, PALE_RED, GREY = "#c8102e", "#e5707f", "#555555"
DOTTED, DASHED = (0, (1, 1)), (0, (4, 2))
# lightly's formula is the official one in all but name, and its curve would hide that.
STYLE = {
    OURS: {"color": RED, "linewidth": 2.6, "zorder": 5},
    GRAPH: {"color": RED, "linewidth": 1.6, "linestyle": DOTTED, "zorder": 5},
    CUDA.called: {"color": RED, "linewidth": 2.6, "zorder": 5},
    CUDA.graph: {"color": RED, "linewidth": 1.6, "linestyle": DOTTED, "zorder": 5},
    TRITON.called: {"color": PALE_RED, "linewidth": 2.2, "zorder": 4},
    TRITON.graph: {"color": PALE_RED, "linewidth": 1.6, "linestyle": DOTTED, "zorder": 4},
    "official_float32": {"color": "#14304d", "linewidth": 1.6},
    "official": {"color": "#1f4e79", "linewidth": 1.8},
    "official_compiled": {"color": "#5b9bd5", "linewidth": 1.4},
    "solo_learn": {"color": "#7f6ba5", "linewidth": 1.4},
    "monai": {"color": "#b08fc7", "linewidth": 1.4},
    "gram": {"color": "#2e7d32", "linewidth": 1.4},
    "gram_compiled": {"color": "#c98a00", "linewidth": 1.4},
    FLOOR: {"color": GREY, "linewidth": 1.4, "linestyle": DASHED, "markersize": 0},
}
BOLD = (OURS, CUDA.called)
PANEL, LEFT, RIGHT, TOP, BOTTOM, BETWEEN = (3.35, 2.75), 0.75, 1.35, 0.95, 0.55, 0.85  # inches
MOST_TICKS = 7
LABEL_POINTS = 8.5
RC = {
    "figure.facecolor": "white",
    "font.size": 9.5,
    "axes.facecolor": "white",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.marker": "o",
    "lines.markersize": 3.2,
}


class Curve(NamedTuple):
    label: str
    style: dict
    x: list[int]
    y: list[float]
    bold: bool = False
    cut: bool = False  # ends because the next size does not fit or takes too long


def short(value: float) -> str:
    """8192 as 8k."""
    if value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{int(value) >> 20}M"
    return f"{value / 1024:g}k" if value >= 1024 and value % 1024 == 0 else f"{value:g}"


def plain(value: float, _=None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def source(result: dict) -> str:
    """What and where was measured."""
    machine = result["machine"]
    threads = f", {machine['threads']} threads" if machine["device"] == machine["cpu"] else ""
    operands = result.get("operands", result["dtype"])
    return f"{machine['device']}{threads}, {operands}, torch {result['versions']['torch']}"


def panels(
    rows: int, columns: int, title: str, subtitle: str, label_room: float = RIGHT
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a title above and room for labels right of each panel; all figures are equally wide."""
    panel = PANEL[0] + RIGHT - label_room
    width = LEFT + columns * (PANEL[0] + RIGHT) + (columns - 1) * (BETWEEN - 0.2)
    height = TOP + rows * PANEL[1] + (rows - 1) * BETWEEN + BOTTOM
    drawn = pyplot.figure(figsize=(width, height))
    grid = [
        [
            drawn.add_axes(
                (
                    (LEFT + column * (PANEL[0] + RIGHT + BETWEEN - 0.2)) / width,
                    (BOTTOM + (rows - 1 - row) * (PANEL[1] + BETWEEN)) / height,
                    panel / width,
                    PANEL[1] / height,
                )
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    drawn.text(
        0.012, 1 - 0.1 / height, title, ha="left", va="top", fontsize=12, fontweight="bold", color="#111111"
    )
    drawn.text(0.012, 1 - 0.36 / height, subtitle, ha="left", va="top", fontsize=8.5, color=GREY)
    return drawn, grid


def panel_title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", color="#222222")


def size_axis(axes: Axes, values: Iterable[int], name: str) -> None:
    """A logarithmic x axis with the sizes themselves as ticks."""
    ticks = sorted(set(values))
    while len(ticks) > MOST_TICKS:
        ticks = ticks[(len(ticks) - 1) % 2 :: 2]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(name)


def draw_curves(axes: Axes, curves: list[Curve]) -> None:
    for curve in curves:
        axes.plot(curve.x, curve.y, **curve.style)
        if curve.cut:
            axes.plot(curve.x[-1:], curve.y[-1:], "x", color=curve.style["color"], markersize=7, zorder=6)


def logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_minor_locator(NullLocator())


def spread(wanted: list[float], gap: float, top: float) -> list[float]:
    """Positions in the wanted order of height, at least gap apart, below top, as little moved as that takes."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [wanted[i] for i in order]
    for _ in range(200):
        moved = False
        for k in range(1, len(placed)):
            overlap = gap - (placed[k] - placed[k - 1])
            if overlap > 1e-6:
                placed[k - 1], placed[k], moved = placed[k - 1] - overlap / 2, placed[k] + overlap / 2, True
        if placed and placed[-1] > top:
            placed[-1], moved = top, True
        if not moved:
            break
    result = [0.0] * len(wanted)
    for position, index in zip(placed, order, strict=True):
        result[index] = position
    return result


def label_curves(axes: Axes, curves: list[Curve]) -> None:
    """Writes each curve's name right of the panel, in the order of their ends' heights."""
    gap = 1.25 * LABEL_POINTS / (PANEL[1] * 72)
    ends = [axes.transAxes.inverted().transform(axes.transData.transform((c.x[-1], c.y[-1]))) for c in curves]
    for curve, end, place in zip(curves, ends, spread([height for _, height in ends], gap, 1.02), strict=True):
        axes.annotate(
            curve.label,
            xy=end,
            xycoords="axes fraction",
            xytext=(1.05, place),
            textcoords="axes fraction",
            color=curve.style["color"],
            fontsize=LABEL_POINTS,
            fontweight="bold" if curve.bold else "normal",
            va="center",
            zorder=6,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={
                "arrowstyle": "-",
                "color": curve.style["color"],
                "linewidth": 0.6,
                "alpha": 0.35,
                "linestyle": (0, (2, 2)) if end[0] < 0.9 else "-",
                "shrinkB": 3,
            },
        )


def log_limits(values: list[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = 0.06 * max(high - low, 0.5)
    return 10 ** (low - margin), 10 ** (high + margin)
