"""The two plots of a result file, time against D and peak-memory delta against D: python -m benchmarks.plot RESULT.json"""

import argparse
import math
import sys
from pathlib import Path

from benchmarks import result_file
from benchmarks.candidates import CANDIDATES, CUDA, FLOOR, GRAPH, OURS, TRITON

STYLE = {
    OURS: {"color": "#c8102e", "linewidth": 2.6, "zorder": 5},
    GRAPH: {"color": "#c8102e", "linewidth": 1.6, "linestyle": (0, (1, 1)), "zorder": 5},
    CUDA.called: {"color": "#c8102e", "linewidth": 2.6, "zorder": 5},
    CUDA.graph: {"color": "#c8102e", "linewidth": 1.6, "linestyle": (0, (1, 1)), "zorder": 5},
    TRITON.called: {"color": "#e5707f", "linewidth": 2.2, "zorder": 4},
    TRITON.graph: {"color": "#e5707f", "linewidth": 1.6, "linestyle": (0, (1, 1)), "zorder": 4},
    "official_float32": {"color": "#14304d", "linewidth": 1.6},
    "official": {"color": "#1f4e79", "linewidth": 1.6},
    "official_compiled": {"color": "#5b9bd5", "linewidth": 1.6},
    "solo_learn": {"color": "#7f6ba5", "linewidth": 1.6},
    "gram": {"color": "#2e7d32", "linewidth": 1.6},
    "gram_compiled": {"color": "#e08a00", "linewidth": 1.6},
    FLOOR: {"color": "#555555", "linewidth": 1.4, "linestyle": (0, (4, 2)), "markersize": 0},
}
ROOFLINE = {"color": "#999999", "linewidth": 1.4, "linestyle": (0, (1, 2)), "markersize": 0}
EMBEDDINGS = {"color": "#555555", "linewidth": 1.4, "linestyle": (0, (1, 2)), "markersize": 0}
PANEL = (4.6, 3.5)  # inches
WIDE = 6.4  # of a panel that is alone
MOST_TICKS = 8
LABEL_POINTS = 8.5
RC = {
    "figure.facecolor": "white",
    "font.size": 9,
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
    "lines.markersize": 3.5,
}
Curve = tuple[str, dict, list[int], list[float]]  # label, style, D, value


def time_curves(cells: list[dict]) -> list[Curve]:
    found = curves(cells, lambda entry: entry.get("ms", {}).get("q50"))
    floors = [(c["d"], c["roofline"]["ms"]) for c in cells if "roofline" in c]
    return [*found, ("roofline", ROOFLINE, *map(list, zip(*floors, strict=True)))] if floors else found


def memory_curves(cells: list[dict]) -> list[Curve]:
    own = ("the embeddings", EMBEDDINGS, [c["d"] for c in cells], [c["embeddings_bytes"] / 1e6 for c in cells])
    found = curves(cells, lambda entry: entry["peak_bytes"] / 1e6 if entry.get("peak_bytes", 0) > 0 else None)
    return [own, *found] if found else []


def curves(cells: list[dict], value_of) -> list[Curve]:
    found = []
    for name, candidate in CANDIDATES.items():
        points = [(c["d"], value_of(c["candidates"][name])) for c in cells if name in c["candidates"]]
        points = [(d, value) for d, value in points if value is not None]
        if points:
            found.append((candidate.label, STYLE[name], [d for d, _ in points], [value for _, value in points]))
    return found


def short(d: float) -> str:
    if d >= 1 << 20 and d % (1 << 20) == 0:
        return f"{d >> 20}M"
    return f"{d / 1024:g}k" if d >= 1024 and d % 1024 == 0 else f"{d:g}"


def plain(value: float, _=None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


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


def draw_panel(axes, lines: list[Curve], title: str, ticks: list[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for _, style, d, values in lines:
        axes.plot(d, values, **style)
    axes.set(xscale="log", yscale="log")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color="#222222")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda d, _: short(round(d))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_minor_locator(NullLocator())


def label_panel(axes, lines: list[Curve]) -> None:
    """Writes each curve's name at its end: right of the panel, or within it where the curve ends early."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    gap = 1.25 * LABEL_POINTS / (axes.get_window_extent().height / axes.figure.dpi * 72)
    last = max(d[-1] for _, _, d, _ in lines)
    for end in {d[-1] for _, _, d, _ in lines}:
        group = [line for line in lines if line[2][-1] == end]
        wanted = [(math.log10(values[-1]) - low) / (high - low) for *_, values in group]
        left = axes.transAxes.inverted().transform(axes.transData.transform((end, group[0][3][-1])))[0]
        for line, place in zip(group, spread(wanted, gap, 1.0), strict=True):
            label_curve(axes, line, (1.04 if end == last else left + 0.045, place))


def label_curve(axes, line: Curve, place: tuple[float, float]) -> None:
    from matplotlib.patheffects import withStroke

    label, style, d, values = line
    axes.annotate(
        label,
        xy=(d[-1], values[-1]),
        xytext=place,
        textcoords="axes fraction",
        color=style["color"],
        fontsize=LABEL_POINTS,
        fontweight="bold" if style in (STYLE[OURS], STYLE[CUDA.called]) else "normal",
        va="center",
        zorder=6,
        annotation_clip=False,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": style["color"], "linewidth": 0.6, "alpha": 0.6, "shrinkB": 2},
    )


def figure(result: dict, curves_of, title: str, unit: str, path: Path) -> Path | None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        n: curves_of(sorted((c for c in result["cells"] if c["n"] == n), key=lambda c: c["d"]))
        for n in sorted({c["n"] for c in result["cells"]})
    }
    several = any(len(line[2]) > 1 for lines in panels.values() for line in lines)
    panels = {n: lines for n, lines in panels.items() if lines and (not several or len(lines[0][2]) > 1)}
    if not panels:
        return None
    # The panels share their x axis, and so the ticks: those of the widest.
    ticks = sorted({d for lines in panels.values() for line in lines for d in line[2]})
    ticks = ticks[(len(ticks) - 1) % 2 :: 2] if len(ticks) > MOST_TICKS else ticks
    columns = min(2, len(panels))
    width = PANEL[0] * columns if columns > 1 else WIDE
    rows = -(-len(panels) // columns)
    with pyplot.rc_context(RC):
        drawn, grid = pyplot.subplots(
            rows, columns, figsize=(width, PANEL[1] * rows + 0.5), squeeze=False, sharex=True
        )
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for index, (axes, (n, lines)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            draw_panel(axes, lines, f"N = {n}", ticks)
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("features D")
            axes.set_ylabel(unit if index % columns == 0 else "")
        machine = result["machine"]
        threads = f", {machine['threads']} threads" if machine["device"] == machine["cpu"] else ""
        drawn.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color="#111111", y=0.99)
        operands = result.get("operands", result["dtype"])
        source = f"{machine['device']}{threads}, {operands}, torch {result['versions']['torch']}"
        drawn.text(
            0.012, 0.99 - 0.3 / drawn.get_figheight(), source, ha="left", va="top", fontsize=9, color="#555555"
        )
        drawn.subplots_adjust(
            left=0.75 / drawn.get_figwidth(),
            right=1 - 1.25 / drawn.get_figwidth(),
            top=1 - 0.85 / drawn.get_figheight(),
            bottom=0.5 / drawn.get_figheight(),
            wspace=0.6,
            hspace=0.36,
        )
        for axes, lines in zip(grid.flat, panels.values(), strict=False):
            label_panel(axes, lines)
        drawn.savefig(path, dpi=180)
        pyplot.close(drawn)
    return path


def draw(result: dict, output: Path) -> list[Path]:
    """Writes RESULT-time.png and RESULT-memory.png; returns those for which there is something to draw.

    Raises ImportError where matplotlib is not installed.
    """
    time_path, memory_path = (output.with_name(f"{output.stem}-{what}.png") for what in ("time", "memory"))
    written = [
        figure(result, time_curves, "Barlow Twins loss, forward + backward: time", "milliseconds", time_path),
        figure(result, memory_curves, "Barlow Twins loss, forward + backward: peak memory", "MB", memory_path),
    ]
    return [path for path in written if path]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json", help="as benchmarks.loss wrote it")
    options = parser.parse_args(arguments)
    try:
        pictures = draw(result_file.read(options.result), options.result)
    except (ValueError, ImportError) as error:
        parser.error(str(error))
    print("\n".join(map(str, pictures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
