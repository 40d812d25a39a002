"""The table on the terminal: one row per cell as it finishes, then why cells are empty and which targets were met."""

from benchmarks.candidates import CANDIDATES, FLOOR, OURS
from benchmarks.targets import MB

HEADS = {
    OURS: "ours",
    "official": "official",
    "official_compiled": "off.comp",
    "solo_learn": "solo",
    "gram": "gram",
    "gram_compiled": "gramcomp",
    FLOOR: "floor",
}
RATIOS = {"official": "official/ours", "gram_compiled": "gramcomp/ours", "floor": "ours/floor"}
RATIO_KEYS = {"official": f"official/{OURS}", "gram_compiled": f"gram_compiled/{OURS}", "floor": f"{OURS}/{FLOOR}"}


def header(names: list[str]) -> str:
    times = "".join(f"{HEADS[name]:>10}" for name in names)
    ratios = "".join(f"{RATIOS[key]:>17}" for key in RATIOS if key in names)
    title = f"{'N':>5}{'D':>7}{times}{ratios}{'peak MB':>12}{'x emb.':>11}"
    return f"{'':>12}{'median ms':>10}\n{title}\n{'-' * len(title)}"


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def time_text(entry: dict) -> str:
    return {"ok": number(entry["ms"]["q50"]) if "ms" in entry else "-", "FAIL": "FAIL"}.get(entry["status"], "-")


def mark(cell: dict, key: str) -> str:
    """ok, MISS or nothing for the targets of that column."""
    found = [verdict["met"] for verdict in cell["targets"] if verdict["key"] == key]
    return " ok  " if found and all(found) else " MISS" if found else "     "


def row(cell: dict, names: list[str]) -> str:
    cells = [f"{cell['n']:>5}{cell['d']:>7}"]
    cells += [f"{time_text(cell['candidates'][name]):>10}" for name in names]
    for key, ratio_key in RATIO_KEYS.items():
        if key in names:
            found = cell["ratios"].get(ratio_key)
            cells.append(f"{number(found['q50']) + 'x' if found else '-':>12}{mark(cell, key)}")
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
