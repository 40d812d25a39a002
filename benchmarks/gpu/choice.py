"""Which GPU backend is faster where, replayed from CUDA graphs: what AUTO in backends/registry.py should be."""

from typing import NamedTuple

from benchmarks.shared.candidates import CUDA, TRITON

IN_GRAPH, CALLED = f"{TRITON.graph}/{CUDA.graph}", f"{TRITON.called}/{CUDA.called}"
BOTH = (CUDA.backend, TRITON.backend)


class Compared(NamedTuple):
    """A cell that both backends were measured in."""

    operands: str
    cell: dict

    @property
    def ratio(self) -> dict:
        """triton's time over cuda's, quantiles over the rounds that have both."""
        return self.cell["ratios"][IN_GRAPH]

    @property
    def faster(self) -> str | None:
        """None: one round in five or more says otherwise."""
        return CUDA.backend if self.ratio["q20"] > 1 else TRITON.backend if self.ratio["q80"] < 1 else None

    def __str__(self) -> str:
        return f"({self.cell['n']}, {self.cell['d']}) {self.operands}"


def lines(cells: dict[str, list[dict]]) -> list[str]:
    """cells: by operands."""
    pairs = [Compared(operands, cell) for operands, found in cells.items() for cell in found]
    pairs = [pair for pair in pairs if IN_GRAPH in pair.cell["ratios"]]
    if not pairs:
        return ["\nFaster backend: no cell was measured with both"]
    title = f"{'N':>5}{'D':>8}{'operands':>10}{'triton us':>11}{'cuda us':>10}{'triton/cuda (20-80 %)':>24}"
    title += f"{'called':>9}{'faster':>9}"
    return [f"\nFaster backend, in a CUDA graph\n{title}", *map(row, pairs), *advice(pairs)]


def row(pair: Compared) -> str:
    cell, ratio = pair.cell, pair.ratio
    triton, cuda = (1e3 * cell["candidates"][name]["ms"]["q50"] for name in (TRITON.graph, CUDA.graph))
    spread = f"{ratio['q50']:.2f} ({ratio['q20']:.2f}-{ratio['q80']:.2f})"
    called = cell["ratios"].get(CALLED)
    called = f"{called['q50']:.2f}" if called else "-"
    where = f"{cell['n']:>5}{cell['d']:>8}{pair.operands:>10}"
    return f"{where}{triton:>11.1f}{cuda:>10.1f}{spread:>24}{called:>9}{pair.faster or 'either':>9}"


def advice(pairs: list[Compared]) -> list[str]:
    """The order that AUTO should have, or what either order costs."""
    faster = {backend: [pair for pair in pairs if pair.faster == backend] for backend in BOTH}
    for first, second in (BOTH, BOTH[::-1]):
        if not faster[second]:
            where = f"{first} is faster in {len(faster[first])} of {len(pairs)} cells, {second} in none"
            return [f'{where}: AUTO["cuda"] should be ("{first}", "{second}", "eager")']
    found = ["no order is right everywhere, so auto should go by shape:"]
    for first, second in (BOTH, BOTH[::-1]):
        # How many times the faster backend's time the other takes, by where it is faster.
        lost = [
            (pair.ratio["q50"] if second == CUDA.backend else 1 / pair.ratio["q50"], pair)
            for pair in faster[second]
        ]
        most, where = max(lost, key=lambda item: item[0])
        cost = f"{first} first costs up to {most:.2f}x, at {where}"
        found.append(f"  {second} is faster in {len(lost)}: {', '.join(map(str, faster[second]))}; {cost}")
    return found
