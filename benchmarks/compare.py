"""A guard against regressions: python -m benchmarks.compare BEFORE.json AFTER.json

Both files come from the same benchmark (loss, step or accuracy), machine, dtype and backend. What is compared is
never an absolute time but what bt_kernels took relative to a yardstick, the official formula or the GEMM-only
floor, within the same rounds of the same file:

    time     the median of bt_kernels / yardstick over the rounds. It got worse where it grew by more than 2 %,
             and the two files' 20-80 % intervals over the rounds do not meet. With fewer than five rounds in
             either file the interval is from the least to the greatest, and it must have grown by more than 10 %;
             with one round by more than half.
    overall  the geometric mean of those medians over five cells or more: worse where it grew by more than 3 % and
             by more than three standard errors of the growth over the cells. It sees what slows everything.
    errors   bt_kernels' gradient error over that of the official formula: worse where it grew by more than half.
             The loss's error: worse where it is more than four times as large and above 1e-6.
    memory   the peak bytes of bt_kernels: worse where they grew by more than 5 % and 1 MB.
    status   a candidate of bt_kernels, its time or its peak that was measured and now is not.

Cells and candidates that only one of the files has are counted and change nothing.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared import result_file
from benchmarks.shared.measure import quantiles

OURS = "bt_kernels"  # candidates of which the names begin with it
YARDSTICKS = ("official", "floor")
BENCHMARKS = ("loss", "step", "accuracy")
DERIVED = {"formulation", "auto", "truth"}  # what a cell says of itself beside its settings
FEW_ROUNDS, LEAST_GROWTH, LEAST_GROWTH_OF_FEW, LEAST_GROWTH_OF_ONE = 5, 0.02, 0.10, 0.5
ERROR_GROWTH, PEAK_GROWTH, PEAK_BYTES = 0.5, 0.05, 1e6
LOSS_ERROR_GROWTH, LEAST_LOSS_ERROR = 4.0, 1e-6
FEWEST_CELLS, LEAST_OVERALL_GROWTH, STANDARD_ERRORS = 5, 0.03, 3


class Refused(ValueError):
    """The files cannot be compared; the message says why."""


class Spread(NamedTuple):
    """A ratio over the rounds."""

    low: float
    median: float
    high: float
    rounds: int


class Finding(NamedTuple):
    what: str  # the cell, the candidate and the measure
    before: float | str
    after: float | str
    worse: bool
    series: str = ""  # of a time: what was divided by what

    def __str__(self) -> str:
        if isinstance(self.before, str):
            return f"{self.what}: {self.before}, now {self.after}"
        change = f" ({100 * (self.after / self.before - 1):+.1f} %)" if self.before else ""
        return f"{self.what}: {self.before:.4g}, now {self.after:.4g}{change}"


def read(path: Path) -> dict:
    """Raises Refused unless the file is a result with cells."""
    try:
        result = result_file.read(path, *BENCHMARKS)
    except ValueError as error:
        raise Refused(str(error)) from None
    if "cells" not in result:
        raise Refused(f"{path} has no cells")
    return result


def check_comparable(before: dict, after: dict) -> None:
    """Raises Refused where the difference would not be the code's."""

    def settings(result: dict) -> dict[str, object]:
        machine = result.get("machine", {})
        return {
            "benchmark": result["benchmark"],
            "device": machine.get("device"),
            "CPU": machine.get("cpu"),
            "number of threads": machine.get("threads"),
            "dtype": result.get("operands", result.get("dtype")),
            "backend": result.get("versions", {}).get("bt_kernels_backend"),
        }

    old, new = settings(before), settings(after)
    for name, value in old.items():
        if value != new[name]:
            raise Refused(f"the files differ in the {name}: {value} and {new[name]}; their ratios say nothing")


def cell_key(cell: dict) -> tuple:
    """The settings of a cell: its plain values, without those that follow from them."""
    return tuple(
        (name, value)
        for name, value in sorted(cell.items())
        if isinstance(value, (str, int, float)) and name not in DERIVED and not name.endswith(("_bytes", "_ms"))
    )


def text(key: tuple) -> str:
    return ", ".join(f"{name.upper() if len(name) == 1 else name} = {value}" for name, value in key)


def spread(ours: dict, yardstick: dict) -> Spread | None:
    """Of ours / yardstick within the rounds that have both; None without such a round."""
    pairs = zip(ours.get("samples_ms", ()), yardstick.get("samples_ms", ()), strict=False)
    ratios = [a / b for a, b in pairs if a is not None and b]
    if not ratios:
        return None
    found = quantiles(ratios)
    if len(ratios) < FEW_ROUNDS:
        return Spread(min(ratios), found.q50, max(ratios), len(ratios))
    return Spread(found.q20, found.q50, found.q80, len(ratios))


def slower(before: Spread, after: Spread) -> bool:
    rounds = min(before.rounds, after.rounds)
    least = LEAST_GROWTH_OF_ONE if rounds == 1 else LEAST_GROWTH_OF_FEW if rounds < FEW_ROUNDS else LEAST_GROWTH
    return after.median > before.median * (1 + least) and after.low > before.high


def gone(what: str) -> Finding:
    return Finding(what, "measured", "not measured", worse=True)


def compare_times(what: str, name: str, before: dict[str, dict], after: dict[str, dict]) -> Iterator[Finding]:
    """Of one candidate over each yardstick that both files have."""
    was = {y: found for y in YARDSTICKS if (found := spread(before[name], before.get(y, {})))}
    now = {y: found for y in was if (found := spread(after[name], after.get(y, {})))}
    if was and not now:
        yield gone(f"{what}, time")
    for yardstick, new in now.items():
        old, series = was[yardstick], f"{name} / {yardstick}"
        yield Finding(f"{what} / {yardstick}, time", old.median, new.median, slower(old, new), series)


def compare_passes(where: str, before: dict[str, dict], after: dict[str, dict]) -> Iterator[Finding]:
    """before, after: the candidates of one cell, by name."""
    for name in [name for name, entry in before.items() if name.startswith(OURS) and entry.get("status") == "ok"]:
        old, new, what = before[name], after.get(name, {}), f"{where}, {name}"
        if new.get("status") != "ok":
            yield Finding(f"{what}, status", "ok", new.get("status", "not measured"), worse=True)
            continue
        yield from compare_times(what, name, before, after)
        errors = [group.get("official", {}).get("gradient_error") for group in (before, after)]
        if all(errors) and "gradient_error" in old and "gradient_error" in new:
            was, now = (entry["gradient_error"] / error for entry, error in zip((old, new), errors, strict=True))
            yield Finding(f"{what} / official, gradient error", was, now, now > was * (1 + ERROR_GROWTH))
        if "loss_error" in old and "loss_error" in new:
            was, now = old["loss_error"], new["loss_error"]
            worse = now > max(LOSS_ERROR_GROWTH * was, LEAST_LOSS_ERROR)
            yield Finding(f"{what}, loss error", was, now, worse)
        if "peak_bytes" in old and "peak_bytes" in new:
            was, now = old["peak_bytes"], new["peak_bytes"]
            worse = now > was * (1 + PEAK_GROWTH) and now > was + PEAK_BYTES
            yield Finding(f"{what}, peak MB", was / 1e6, now / 1e6, worse)
        elif "peak_bytes" in old:
            yield gone(f"{what}, peak MB")


def overall(passes: str, found: list[Finding]) -> Iterator[Finding]:
    """The geometric means over the cells, of what compare_passes found in each."""
    for series in sorted({finding.series for finding in found if finding.series}):
        pairs = [(float(f.before), float(f.after)) for f in found if f.series == series]
        if len(pairs) < FEWEST_CELLS:
            continue
        growth = [math.log(after / before) for before, after in pairs]
        mean, error = statistics.fmean(growth), statistics.stdev(growth) / len(growth) ** 0.5
        worse = mean > max(math.log1p(LEAST_OVERALL_GROWTH), STANDARD_ERRORS * error)
        old, new = (statistics.geometric_mean(values) for values in zip(*pairs, strict=True))
        yield Finding(f"overall{passes}, {series}, time", old, new, worse)


def compare(before: dict, after: dict) -> list[Finding]:
    """Everything that both files have. Raises Refused where that is nothing."""
    check_comparable(before, after)
    old, new = ({cell_key(cell): cell["candidates"] for cell in result["cells"]} for result in (before, after))
    found: list[Finding] = []
    for passes in ("", ", forward alone"):
        of_passes: list[Finding] = []
        for key in [key for key in old if key in new]:
            groups = [old[key], new[key]]
            if passes:
                groups = [{n: e["forward"] for n, e in group.items() if "forward" in e} for group in groups]
            of_passes += compare_passes(f"{text(key)}{passes}", *groups)
        found += [*of_passes, *overall(passes, of_passes)]
    if not found:
        raise Refused("the files have no cell in which both measured bt_kernels")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 nothing got worse; 1 something did; 2 the files cannot be compared.",
    )
    parser.add_argument("before", type=result_file.path, metavar="BEFORE.json", help="the result to start from")
    parser.add_argument("after", type=result_file.path, metavar="AFTER.json", help="the result that may be worse")
    options = parser.parse_args(arguments)
    try:
        before, after = read(options.before), read(options.after)
        found = compare(before, after)
    except Refused as error:
        print(f"benchmarks.compare: {error}", file=sys.stderr)
        return 2
    worse = [finding for finding in found if finding.worse]
    if worse:
        print("Worse:", *(f"  {finding}" for finding in worse), sep="\n")
    keys = [{cell_key(cell) for cell in result["cells"]} for result in (before, after)]
    print(
        f"{len(found)} comparisons in {len(keys[0] & keys[1])} cells, {len(worse)} worse; "
        f"{len(keys[0] ^ keys[1])} cells are in one file only"
    )
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
