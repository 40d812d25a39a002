"""The picture: the ablations beside the paper's, and accuracy against batch size, projector width and λ."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.paper import published
from benchmarks.paper.findings import LABELS, Measured, difference, mean
from benchmarks.paper.table import TITLES

OURS, OTHER, PAPER, GREY = "#c8102e", "#1f4e79", "#444444", "#999999"
RC = {
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def draw(result: dict, path: Path) -> Path:
    """Draw a result file's picture; returns ``path``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = Measured(result)
    with pyplot.rc_context(RC):
        figure = pyplot.figure(figsize=(15, 6.6), layout="constrained")
        figure.get_layout_engine().set(wspace=0.04, hspace=0.06)
        cells = figure.add_gridspec(2, 4, width_ratios=(1.35, 1, 1, 1))
        draw_ablations(figure.add_subplot(cells[:, 0]), measured)
        draw_batches(figure.add_subplot(cells[0, 1]), measured)
        draw_widths(figure.add_subplot(cells[0, 2]), measured)
        draw_lambdas(figure.add_subplot(cells[0, 3]), measured)
        draw_published(*(figure.add_subplot(cells[1, column]) for column in (1, 2, 3)))
        data = result["configuration"]["data"]
        figure.suptitle(
            f"The paper's ablations on {data}: in colour measured here, in grey ImageNet as published",
            x=0.01,
            ha="left",
            fontsize=12,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
    return path


def draw_ablations(axes, measured: Measured) -> None:
    """The change of the accuracy by every ablation, with its 95 % interval, and the paper's."""
    baseline, rows = measured.variant("baseline"), []
    for name, accuracy in published.ABLATIONS.items():
        variant = measured.cross_entropy() if name == "cross-entropy" else name
        change = difference(measured.variant(variant), baseline)
        rows.append((TITLES[variant], change, accuracy - published.BASELINE))
    rows.sort(key=lambda row: row[2])
    for y, (_, change, theirs) in enumerate(rows):
        half = 0.0 if np.isnan(change.half) else change.half
        axes.errorbar(change.mean, y + 0.12, xerr=half, fmt="o", color=OURS, capsize=3)
        axes.plot(theirs, y - 0.12, "D", color=PAPER, markerfacecolor="white")
    axes.set_yticks(range(len(rows)), [title.replace(", ", ",\n") for title, *_ in rows])
    axes.axvline(0, color=GREY, linewidth=1)
    axes.axvline(-measured.gain, color=OURS, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    ticks = (-50, -20, -10, -5, -2, -1, 0, 1, 2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title("Tables 5 and 6")
    axes.set_xlabel("change against the baseline, percentage points")
    handles = (
        axes.plot([], [], "o", color=OURS, label="here, 95 % interval")[0],
        axes.plot([], [], "--", color=OURS, linewidth=1, label="here, untrained network")[0],
        axes.plot([], [], "D", color=PAPER, markerfacecolor="white", label="paper")[0],
    )
    axes.legend(handles=handles, loc="lower right", frameon=True, facecolor="white", edgecolor="white")


def curve(axes, points: dict[float, dict[int, float]], color: str, label: str, style: str = "-") -> None:
    """The means over the seeds as a line, every seed as a dot."""
    if not points:
        return
    xs = sorted(points)
    axes.plot(xs, [mean(points[x]) for x in xs], style, color=color, linewidth=1.8, label=label)
    for x in xs:
        axes.plot([x] * len(points[x]), list(points[x].values()), "o", color=color, markersize=3, alpha=0.6)


def reference_lines(axes, measured: Measured) -> None:
    untrained = mean(measured.variant("untrained"))
    axes.axhline(untrained, color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="untrained network")
    axes.set_ylabel(f"accuracy, {LABELS} labels per class, %")


def log_axis(axes, base: int, ticks, text: Callable[[float], str] = "{:g}".format) -> None:
    axes.set_xscale("log", base=base)
    axes.set_xticks(list(ticks), [text(tick) for tick in ticks])
    axes.minorticks_off()


def short(width: float) -> str:
    return f"{width / 1024:g}k" if width >= 1024 else f"{width:g}"


def draw_batches(axes, measured: Measured) -> None:
    reference_lines(axes, measured)
    curve(axes, measured.curve("batch"), OURS, "Barlow Twins, as many epochs")
    curve(axes, measured.curve("batch-steps"), OURS, "the same, as many steps", ":")
    curve(axes, measured.curve("info-nce"), OTHER, "InfoNCE, as many epochs")
    log_axis(axes, 2, measured.scale.batches)
    axes.set_xlabel("batch size")
    axes.set_title("Batch size")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.5 * (high - low), high)  # room for the legend
    axes.legend(fontsize=7.5, frameon=False, loc="lower center")


def draw_widths(axes, measured: Measured) -> None:
    reference_lines(axes, measured)
    curve(axes, measured.curve("width"), OURS, "Barlow Twins")
    log_axis(axes, 2, measured.scale.widths, short)
    axes.set_xlabel("width of the projector's three layers")
    axes.set_title("Projector width")


def draw_lambdas(axes, measured: Measured) -> None:
    reference_lines(axes, measured)
    axes.axvspan(*published.LAMBDAS, color="#eeeeee", zorder=0)
    curve(axes, measured.curve("lambda"), OURS, "Barlow Twins")
    log_axis(axes, 10, (1e-4, 1e-3, 1e-2, 1e-1, 1))
    axes.set_xlabel("λ (shaded: the paper's range)")
    axes.set_title("λ")


def draw_published(batches, widths, lambdas) -> None:
    """What the paper says in numbers of its figures 2, 4 and 5."""
    style = {"color": PAPER, "marker": "D", "markerfacecolor": "white", "linewidth": 1.8}
    batches.plot(list(published.BATCHES), list(published.BATCHES.values()), **style)
    log_axis(batches, 2, published.BATCHES)
    batches.set(title="Paper, figure 2", xlabel="batch size", ylabel="ImageNet top-1, %", ylim=(66, 74))
    low, high = published.LAMBDA_ACCURACIES
    lambdas.fill_between(published.LAMBDAS, low, high, color=PAPER, alpha=0.3, linewidth=0)
    lambdas.text(0.0063, low - 0.3, f"between {low} and {high}", ha="center", va="top", color=PAPER)
    log_axis(lambdas, 10, (1e-4, 1e-3, 1e-2, 1e-1, 1))
    lambdas.set(title="Paper, figure 5", xlabel="λ", ylabel="ImageNet top-1, %", ylim=(66, 74), xlim=(6e-5, 1.5))
    widths.set(title="Paper, figure 4", xticks=[], yticks=[])
    widths.grid(False)
    text = f"a curve without printed numbers:\naccuracy rises with the width\nup to {published.WIDEST:,}"
    widths.text(0.5, 0.5, text, ha="center", va="center", transform=widths.transAxes, color=PAPER)
