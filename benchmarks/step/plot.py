"""The picture of the training-step benchmark: the loss's share of the step, and peak memory, against D.

Imported where it is drawn: it needs matplotlib.
"""

from collections.abc import Callable
from pathlib import Path

from matplotlib import pyplot
from matplotlib.ticker import LogLocator

from benchmarks.shared.style import (
    RC,
    STYLE,
    Curve,
    draw_curves,
    label_curves,
    logarithmic,
    panel_title,
    panels,
    size_axis,
    source,
)
from benchmarks.step.losses import OURS, STEP_LOSSES

STYLES = STYLE | {"lightly": {"color": "#2e7d32", "linewidth": 1.4}}


def curves(cells: list[dict], value_of: Callable[[dict], float | None]) -> list[Curve]:
    found = []
    for name, loss in STEP_LOSSES.items():
        points = [(cell["d"], value_of(cell["candidates"].get(name, {}))) for cell in cells]
        points = [(d, value) for d, value in points if value]
        if points:
            d, values = map(list, zip(*points, strict=True))
            found.append(Curve(loss.label, STYLES[name], d, values, name == OURS, d[-1] < cells[-1]["d"]))
    return found


def draw(result: dict, path: Path) -> Path | None:
    """Writes the picture if a loss was measured."""
    cells = sorted(result["cells"], key=lambda cell: cell["d"])
    measured = {
        "the loss's share of the step, %": curves(cells, lambda entry: 100 * entry.get("loss_share", 0.0)),
        "peak memory of the step, GB": curves(cells, lambda entry: entry.get("peak_bytes", 0) / 1e9),
    }
    measured = {title: found for title, found in measured.items() if found}
    if not measured:
        return None
    first = cells[0]
    under = (
        f"{first['n']} images of {first['image_size']} x {first['image_size']} pixels, two views; {source(result)}"
    )
    with pyplot.rc_context(RC):
        title = f"A training step of a {first['network']} with each loss"
        figure, grid = panels(1, len(measured), title, under)
        for axes, (heading, found) in zip(grid[0], measured.items(), strict=True):
            draw_curves(axes, found)
            logarithmic(axes)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            size_axis(axes, [cell["d"] for cell in cells], "features D")
            panel_title(axes, heading)
            label_curves(axes, found)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
    return path
