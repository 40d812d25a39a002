"""The table on the terminal: one row per cell as it finishes, then empty cells and why, and targets."""

from typing import NamedTuple

from benchmarks.loss.targets import MB, judged_on_gpu, ratio_name
from benchmarks.shared.candidates import AS_ASKED, CANDIDATES, CUDA, FLOOR, GRAPH, OURS, TRITON, Contender

HEADS = {
    OURS: "ours",
    GRAPH: "graph",
    TRITON.called: "triton",
    TRITON.graph: "tr.graph",
    CUDA.called: "cuda",
    CUDA.graph: "cu.graph",
    "official_float32": "off.fp32",
    "official": "official",
    "official_compiled": "off.comp",
    "lightly": "lightly",
    "solo_learn": "solo",
    "monai": "monai",
    "gram": "gram",
    "gram_compiled": "gramcomp",
    FLOOR: "floor",
}


class RatioColumn(NamedTuple):
    title: str
    key: str  # of the targets, and what bt_kernels is compared with


RATIOS = (
    RatioColumn("official/ours", "official"),
    RatioColumn("gramcomp/ours", "gram_compiled"),
    RatioColumn("ours/floor", FLOOR),
)
# * is the graph or the call, as the row says: see targets.judged_on_gpu.
GPU_RATIOS = (
    RatioColumn("off.fp32/*", "official_float32"),
    RatioColumn("official/*", "official"),
    RatioColumn("off.comp/*", "official_compiled"),
    RatioColumn("gramcomp/*", "gram_compiled"),
    RatioColumn("triton/*", TRITON.backend),
    RatioColumn("*/floor", FLOOR),
    RatioColumn("*/roofline", "roofline"),
)


class Columns(NamedTuple):
    """What a table shows: bt_kernels with one backend, compared with everything that was measured."""

    contender: Contender
    names: list[str]  # whose times it shows
    ratios: list[RatioColumn]

    @property
    def on_gpu(self) -> bool:
        return self.contender.graph in self.names

    def judged(self, cell: dict) -> str:
        return judged_on_gpu(cell["n"], cell["d"], self.contender) if self.on_gpu else self.contender.called


def columns(measured: list[str], contender: Contender = AS_ASKED, baselines: bool = True) -> Columns:
    """Of these candidates; without the baselines only their ratios."""
    own = [name for name in measured if CANDIDATES[name].contender == contender]
    others = [name for name in measured if not CANDIDATES[name].ours]
    if contender.graph not in own:
        ratios = [column for column in RATIOS if column.key in others]
    else:
        shown = {*others, "roofline"} - ({"official"} if "official_float32" in others else set())
        shown |= {TRITON.backend} if contender == CUDA and TRITON.called in measured else set()
        ratios = [column for column in GPU_RATIOS if column.key in shown]
    return Columns(contender, own + (others if baselines else []), ratios)


def header(shown: Columns) -> str:
    times = "".join(f"{HEADS[name]:>10}" for name in shown.names)
    ratios = "".join(f"{column.title:>17}" for column in shown.ratios)
    judged = f"{'*':>9}{'':5}" if shown.on_gpu else ""
    title = f"{'N':>5}{'D':>8}{times}{judged}{ratios}{'peak MB':>12}{'x emb.':>11}"
    return f"{'':>13}{'median ms':>10}\n{title}\n{'-' * len(title)}"


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def time_text(entry: dict) -> str:
    if entry.get("status") == "FAIL":
        return "FAIL"
    return number(entry["ms"]["q50"]) if "ms" in entry else "-"


def mark(cell: dict, key: str, contender: Contender) -> str:
    """ok, MISS or nothing for the targets of that column."""
    whose = (contender.called, contender.graph)
    verdicts = [v for v in cell["targets"] if v["key"] == key and v.get("judged", OURS) in whose]
    return "     " if not verdicts else " ok  " if all(v["met"] for v in verdicts) else " MISS"


def row(cell: dict, shown: Columns) -> str:
    contender = shown.contender
    cells = [f"{cell['n']:>5}{cell['d']:>8}"]
    cells += [f"{time_text(cell['candidates'].get(name, {})):>10}" for name in shown.names]
    judged = shown.judged(cell)
    if shown.on_gpu:
        cells.append(f"{HEADS[judged]:>9}{mark(cell, 'time', contender)}")
    for column in shown.ratios:
        found = cell["ratios"].get(ratio_name(column.key, judged))
        cells.append(f"{number(found['q50']) + 'x' if found else '-':>12}{mark(cell, column.key, contender)}")
    peak = cell["candidates"].get(contender.called, {}).get("peak_bytes")
    cells.append(f"{'-' if peak is None else number(peak / MB):>12}")
    times_embeddings = "-" if peak is None else number(peak / cell["embeddings_bytes"])
    cells.append(f"{times_embeddings:>6}{mark(cell, 'memory', contender)}")
    return "".join(cells)


def in_all_line(entry: dict) -> str:
    if "ms" not in entry:
        return f"N = 256, D = 262144: not measured ({entry['reason']})"
    if entry["status"] == "FAIL":
        return f"N = {entry['n']}, D = {entry['d']}: FAIL, gradient error {entry['gradient_error']:.1e}"
    return (
        f"N = {entry['n']}, D = {entry['d']}: {number(entry['ms']['q50'])} ms, process peak "
        f"{entry['peak_bytes_in_all'] / 1e9:.2f} GB in all; "
        f"C alone: {entry['cross_correlation_bytes'] / 1e9:.0f} GB"
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
            forward = entry.get("forward", {"status": "ok"})
            if forward["status"] != "ok":
                found = forward.get("reason") or f"loss error {forward['loss_error']:.1e}"
                lines.append(f"{where}forward alone {forward['status']}, {found}")
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
        where = f"; missed at {', '.join(missed)}" if missed else ""
        lines.append(f"  {'MISS' if missed else 'ok  '} {text}: {met}{where}")
    return lines


def target_value(verdict: dict) -> str:
    if verdict["key"] in ("memory", "in_all"):
        return f"{verdict['value'] / MB:.1f} of {verdict['limit'] / MB:.1f} MB"
    if verdict["key"] == "time":
        return f"{1e3 * verdict['value']:.1f} us"
    return f"{number(verdict['value'])}x"
