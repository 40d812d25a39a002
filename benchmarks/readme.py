"""README.md's tables and pictures from result files: python -m benchmarks.readme, or --check

README.md names the files, those of benchmarks/results: what stands between

    <!-- benchmark table: begin loss-DEVICE.json -->
    <!-- benchmark table: end -->

is made from that file, tables and text, and the pictures go to docs/pictures. They carry the digest of the file
that they were drawn from, by which --check knows whether they are of this one.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.loss.plots import draw as plot
from benchmarks.loss.plots.selection import PASSES, entry_of, measured_passes, ratios_of
from benchmarks.loss.table import number
from benchmarks.shared import result_file
from benchmarks.shared.candidates import CANDIDATES, FLOOR, OURS
from benchmarks.shared.command import Command
from benchmarks.shared.result_file import ROOT

README, RESULTS, PICTURES = ROOT / "README.md", Path("benchmarks/results"), Path("docs/pictures")
BLOCK = re.compile(r"(<!-- benchmark table: begin (\S+) -->\n)(.*?)(<!-- benchmark table: end -->)", re.DOTALL)
# Of the cells, by N: the landmarks of both axes, where there are such.
ROWS = {
    64: (8192,),
    256: (512, 2048, 8192, 32768, 131072, 1048576),
    1024: (512, 2048, 8192),
    4096: (2048, 8192),
    8192: (4096, 8192),
}
CAPTIONS = {
    "time": "Time against D and against N",
    "memory": "Peak memory beyond the embeddings",
    "speedup": "Times faster than the official formula, by N and D",
    "floor": "Times the bare matrix products' time",
}
SHOWN = ("speedup",)  # the others are linked: the README begins with "time"


def thousands(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else number(value)


def fastest(cell: dict, names: list[str], passes: str) -> str:
    """Of those that compute the loss."""
    times = {name: entry_of(cell, name, passes).get("ms") for name in names if name != FLOOR}
    return min((ms["q50"], name) for name, ms in times.items() if ms)[1] if any(times.values()) else ""


def cell_text(cell: dict, name: str, passes: str, bold: bool) -> str:
    """Median ms and peak MB, or why there are none."""
    entry = entry_of(cell, name, passes)
    if "ms" not in entry:
        reason = cell["candidates"].get(name, {}).get("reason", "")
        return next((text for text in ("does not fit", "too slow") if reason.startswith(text)), "–")
    time = thousands(entry["ms"]["q50"])
    time = f"**{time}**" if bold else time
    peak = entry.get("peak_bytes")
    return time if peak is None else f"{time} ({thousands(max(peak, 0) / 1e6)})"


def table(result: dict, passes: str) -> list[str]:
    cells = {(cell["n"], cell["d"]): cell for cell in result["cells"]}
    rows = [cells[n, d] for n, ds in ROWS.items() for d in ds if (n, d) in cells] or result["cells"]
    names = [name for name in CANDIDATES if any("ms" in entry_of(cell, name, passes) for cell in rows)]
    ours = OURS if OURS in names else next((name for name in names if CANDIDATES[name].ours), OURS)
    heads = ["N, D", *(CANDIDATES[name].label for name in names), f"{CANDIDATES[ours].label} / floor"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cell in rows:
        found = ratios_of(cell, passes).get(f"{ours}/{FLOOR}")
        first = fastest(cell, names, passes)
        texts = [cell_text(cell, name, passes, name == first) for name in names]
        shape = f"{cell['n']}, {cell['d']}"
        over_floor = f"{found['q50']:.2f}" if found else "–"
        lines.append(f"| {' | '.join([shape, *texts, over_floor])} |")
    return lines


def pictures_of(name: str) -> list[tuple[str, Path]]:
    """Captions and paths of the pictures that a file may have."""
    stem = Path(name).stem
    return [(caption, PICTURES / f"{stem}-{what}.png") for what, caption in CAPTIONS.items()]


def block(name: str, result: dict, pictures: list[tuple[str, Path]]) -> str:
    """What stands between the markers."""
    machine, versions = result["machine"], result["versions"]
    threads = f", {machine['threads']} threads" if machine["device"] == machine["cpu"] else ""
    commit = (result["git"]["commit"] or "unknown")[:7] + (" with changes" if result["git"]["dirty"] else "")
    where = f"{machine['device']}{threads}, {result.get('operands', result['dtype'])}, torch {versions['torch']}"
    lines = [
        f"{where}; median ms, and in brackets the peak memory beyond the embeddings in MB.",
        f"From [{name}]({(RESULTS / name).as_posix()}): `{result['command']}` at commit {commit}.",
    ]
    for passes in [p for p in PASSES if p in measured_passes(result["cells"])]:
        lines += ["", f"**{passes.capitalize()}**", "", *table(result, passes)]
    shown = [(caption, path) for caption, path in pictures if path.stem.endswith(SHOWN)]
    lines += [line for caption, path in shown for line in ("", f"![{caption}]({path.as_posix()})")]
    linked = [f"[{caption}]({path.as_posix()})" for caption, path in pictures if (caption, path) not in shown]
    if linked:
        lines += ["", "Drawn too: " + ", ".join(text[0] + text[1].lower() + text[2:] for text in linked) + "."]
    return "\n".join(["", *lines, "", ""])


def digest_in(picture: Path) -> str | None:
    """Of the result file that a picture was drawn from; None if it does not say or is not there."""
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return image.info.get("Source")
    except OSError:
        return None


def regenerate(
    text: str, root: Path, pictures: Callable[[str, dict], list[tuple[str, Path]]]
) -> tuple[str, list[str]]:
    """README.md's text with new blocks, and the names of their files.

    Raises ValueError where it has no markers or one of the files is no result.
    """
    names = [found[2] for found in BLOCK.finditer(text)]
    if not names:
        raise ValueError(
            "README.md has no <!-- benchmark table: begin FILE.json --> and <!-- benchmark table: end -->"
        )

    def replace(found: re.Match) -> str:
        result = result_file.read(root / RESULTS / found[2], "loss")
        return found[1] + block(found[2], result, pictures(found[2], result)) + found[4]

    return BLOCK.sub(replace, text), names


def draw(root: Path, name: str, result: dict) -> list[tuple[str, Path]]:
    (root / PICTURES).mkdir(parents=True, exist_ok=True)
    written = plot.draw(result, root / PICTURES / name, plot.digest(root / RESULTS / name))
    return [(caption, path) for caption, path in pictures_of(name) if root / path in written]


def out_of_date(readme: Path) -> list[str]:
    """What in README.md or its pictures is not what the files give; one sentence each."""
    root, text = readme.parent, readme.read_text()
    found: list[str] = []

    def present(name: str, result: dict) -> list[tuple[str, Path]]:
        digest = plot.digest(root / RESULTS / name)
        named = [(caption, path) for caption, path in pictures_of(name) if f"({path.as_posix()})" in text]
        for _, path in named:
            if digest_in(root / path) != digest:
                found.append(f"{path} was not drawn from {name} as it is now")
        return named

    expected, names = regenerate(text, root, present)
    if expected != text:
        found.append(f"README.md's tables are not those of {', '.join(names)}")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = Command(
        "readme",
        "Writes the tables between README.md's markers, and the pictures in docs/pictures, from the result "
        "files that the markers name.",
        {"": "after a new result file", "--check": "in a test"},
        "0 written, or up to date; 1 --check found a difference; 2 no markers, or a bad file.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            differences = out_of_date(README)
            print("\n".join(differences or ["README.md is what the result files give"]))
            return 1 if differences else 0
        text, names = regenerate(README.read_text(), README.parent, lambda *found: draw(README.parent, *found))
    except (ValueError, OSError, ImportError) as error:
        print(f"benchmarks.readme: {error}", file=sys.stderr)
        return 2
    README.write_text(text)
    print(f"README.md and {PICTURES}: from {', '.join(str(RESULTS / name) for name in names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
