"""Which cells of a result lie on which axis, and what a candidate's entry says of either pass."""

from collections import defaultdict
from typing import NamedTuple

PASSES = {"forward + backward": None, "forward alone": "forward"}  # and where an entry has it


class Line(NamedTuple):
    """Cells that differ in one size only."""

    axis: str  # n or d
    fixed: str  # and fixed_value: the other size
    fixed_value: int
    cells: list[dict]  # in order

    @property
    def title(self) -> str:
        return f"{self.fixed.upper()} = {self.fixed_value}"

    @property
    def axis_name(self) -> str:
        return "features D" if self.axis == "d" else "batch size N"


def lines(cells: list[dict]) -> list[Line]:
    """The longest line along D and the longest along N, those of two cells or more."""
    found = []
    for axis, fixed in (("d", "n"), ("n", "d")):
        groups: dict[int, list[dict]] = defaultdict(list)
        for cell in cells:
            groups[cell[fixed]].append(cell)
        value = max(groups, key=lambda size: (len(groups[size]), size), default=0)
        if len(groups.get(value, ())) > 1:
            found.append(Line(axis, fixed, value, sorted(groups[value], key=lambda cell: cell[axis])))
    return found


def entry_of(cell: dict, name: str, passes: str) -> dict:
    """The candidate's numbers in that pass; empty if there are none."""
    entry = cell["candidates"].get(name, {})
    part = PASSES[passes]
    return entry.get(part, {}) if part else entry


def ratios_of(cell: dict, passes: str) -> dict:
    return cell.get("forward_ratios", {}) if PASSES[passes] else cell["ratios"]


def measured_passes(cells: list[dict]) -> list[str]:
    return [
        passes
        for passes in PASSES
        if any("ms" in entry_of(cell, name, passes) for cell in cells for name in cell["candidates"])
    ]
