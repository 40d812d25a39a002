"""The table on the terminal: one row per cell as it finishes, then why cells are empty and which targets were met."""

from typing import NamedTuple

from benchmarks.candidates import CANDIDATES, FLOOR, GRAPH, OURS
from benchmarks.targets import MB, judged_on_gpu

HEADS = {
    OURS: "ours",
    GRAPH: "graph",
    "official_float32": "off.fp32",
    "official": "official",
    "official_compiled": "off.comp",
    "solo_learn": "solo",
    "gram": "gram",
    "gram_compiled": "gramcomp",
    FLOOR: "floor",
}


class RatioColumn(NamedTuple):
    title: str
    key: str  # of the targets, and the candidate or floor that bt_kernels is compared with
    over: bool = False  # its time over bt_kernels' time, or the other way round

    def ratio(self, judged: str) -> str:
        """Its name in the result file."""
        return f"{self.key}/{judged}" if self.over else f"{judged}/{self.key}"


RATIOS = (
    RatioColumn("official/ours", "official", True),
    RatioColumn("gramcomp/ours", "gram_compiled", True),
    RatioColumn("ours/floor", FLOOR),
)
# * is the graph or ours, as the row says: see targets.judged_on_gpu.
GPU_RATIOS = (
    RatioColumn("off.fp32/*", "official_float32", True),
    RatioColumn("official/*", "official", True),
    RatioColumn("off.comp/*", "official_compiled", True),
    RatioColumn("gramcomp/*", "gram_compiled", True),
    RatioColumn("*/floor", FLOOR),
    RatioColumn("*/roofline", "roofline"),
)


def ratio_columns(names: list[str]) -> list[RatioColumn]:
    if GRAPH not in names:
        return [column for column in RATIOS if column.key in names]
    shown = {*names, "roofline"} - ({"official"} if "official_float32" in names else set())
    return [column for column in GPU_RATIOS if column.key in shown]


def judged_in(cell: dict, names: list[str]) -> str:
    return judged_on_gpu(cell["n"], cell["d"]) if GRAPH in names else OURS


def header(names: list[str]) -> str:
    times = "".join(f"{HEADS[name]:>10}" for name in names)
    ratios = "".join(f"{column.title:>17}" for column in ratio_columns(names))
    judged = f"{'*':>7}" if GRAPH in names else ""
    title = f"{'N':>5}{'D':>8}{times}{judged}{ratios}{'peak MB':>12}{'x emb.':>11}"
    return f"{'':>13}{'median ms':>10}\n{title}\n{'-' * len(title)}"


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def time_text(entry: dict) -> str:
    if entry.get("status") == "FAIL":
        return "FAIL"
    return number(entry["ms"]["q50"]) if "ms" in entry else "-"


def mark(cell: dict, key: str) -> str:
    """ok, MISS or nothing for the targets of that column."""
    found = [verdict["met"] for verdict in cell["targets"] if verdict["key"] == key]
    return " ok  " if found and all(found) else " MISS" if found else "     "


def row(cell: dict, names: list[str]) -> str:
    cells = [f"{cell['n']:>5}{cell['d']:>8}"]
    cells += [f"{time_text(cell['candidates'].get(name, {})):>10}" for name in names]
    judged = judged_in(cell, names)
    if GRAPH in names:
        cells.append(f"{HEADS[judged]:>7}")
    for column in ratio_columns(names):
        found = cell["ratios"].get(column.ratio(judged))
        cells.append(f"{number(found['q50']) + 'x' if found else '-':>12}{mark(cell, column.key)}")
    peak = cell["candidates"].get(OURS, {}).get("peak_bytes")
    cells.append(f"{'-' if peak is None else number(peak / MB):>12}")
    cells.append(f"{'-' if peak is None else number(peak / cell['embeddings_bytes']):>6}{mark(cell, 'memory')}")
    return "".join(cells)


def in_all_line(entry: dict) -> str:
    if "ms" not in entry:
        return f"N = 256, D = 262144: not measured ({entry['reason']})"
    if entry["status"] == "FAIL":
        return f"N = {entry['n']}, D = {entry['d']}: FAIL, gradient error {entry['gradient_error']:.1e}"
    return (
        f"N = {entry['n']}, D = {entry['d']}: {number(entry['ms']['q50'])} ms, process peak "
        f"{entry['peak_bytes_in_all'] / 1e9:.2f} GB in all; C alone: {entry['cross_correlation_bytes'] / 1e9:.0f} GB"
    )


def empty_lines(cells: list[dict]) -> list[str]:
    """Why there is no number, one line per cell and candidate."""
    lines = []
    for cell in cells:
        for name, entry in cell["candidates"].items():
            where = f"N = {cell['n']}, D = {cell['d']}, {CANDIDATES[name].label}: "
            if entry["status"] == "FAIL":
                found = f"loss error {entry['loss_error']:.1e}, gradient error {entry['gradient_error']:.1e}"
                lines.append(f"{where}FAIL, {found}")
            elif "reason" in entry:
                lines.append(f"{where}{entry['status']}, {entry['reason']}")
            elif "peak_reason" in entry:
                lines.append(f"{where}peak memory {entry['peak_reason']}")
    return lines


def target_lines(cells: list[dict]) -> list[str]:
    """For each target: in how many cells it was met, and the cells that miss it."""
    texts: dict[str, list[tuple[dict, dict]]] = {}
    for cell in cells:
        for verdict in cell.get("targets", ()):
            texts.setdefault(verdict["text"], []).append((cell, verdict))
    lines = []
    for text, found in texts.items():
        missed = [f"({c['n']}, {c['d']}): {target_value(v)}" for c, v in found if not v["met"]]
        met = f"{len(found) - len(missed)} of {len(found)}"
        lines.append(
            f"  {'ok  ' if not missed else 'MISS'} {text}: {met}{'; missed at ' if missed else ''}{', '.join(missed)}"
        )
    return lines


def target_value(verdict: dict) -> str:
    if verdict["key"] in ("memory", "in_all"):
        return f"{verdict['value'] / MB:.1f} of {verdict['limit'] / MB:.1f} MB"
    return f"{number(verdict['value'])}x"
