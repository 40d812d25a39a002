"""docs/versions.md and README.md's line from results.json: python tests/versions/version_table.py, or --check"""

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS, TABLE, README = HERE / "results.json", ROOT / "docs" / "versions.md", ROOT / "README.md"
LINE = re.compile(r"(<!-- versions: begin -->\n)(.*?)(<!-- versions: end -->)", re.DOTALL)

HEAD = """# Versions of torch and Python

`make test-matrix` makes this table: for each row an environment of its own, this package as `pip install
--no-build-isolation .` installs it there, and the [short suite](../tests/versions/matrix.py). It is made from
[results.json](../tests/versions/results.json), which has the machine, the commit and the names of what failed.

"""
NAMES = {"cpu": "C++ ops", "triton": "Triton backend"}
COLUMNS = ("torch", "Triton", "Python", "numpy", *NAMES.values(), "passed", "failed", "skipped", "date")


def read() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def order(result: dict) -> list[tuple[int, ...]]:
    return [tuple(map(int, re.findall(r"\d+", result["versions"][name])[:3])) for name in ("torch", "python")]


def table(results: dict[str, dict]) -> str:
    rows = [COLUMNS, ["---"] * len(COLUMNS)]
    notes = {}
    for result in sorted(results.values(), key=order):
        versions = result["versions"]
        notes |= {(NAMES[backend], reason): None for backend, reason in result["why_not"].items()}
        rows.append(
            [
                versions["torch"],
                versions.get("triton", "–"),
                versions["python"],
                versions["numpy"],
                *("no" if backend in result["why_not"] else "yes" for backend in NAMES),
                *(str(result[what]) for what in ("passed", "failed", "skipped")),
                result["date"][:10],
            ]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return HEAD + "\n".join(lines) + "\n" + "".join(f"\n{name}, no: {reason}.\n" for name, reason in notes)


def sentence(results: dict[str, dict]) -> str:
    """README.md's line."""
    rows = sorted(results.values(), key=order)
    beside = [f"{row['versions']['torch'].partition('+')[0]} (Python {minor(row)})" for row in rows]
    failed = sum(row["failed"] for row in rows)
    passed = sorted(row["passed"] for row in rows)
    each = " to ".join(f"{count:,}" for count in dict.fromkeys((passed[0], passed[-1])))
    line = (
        f"Tested with torch {', '.join(beside)}: {each} tests passed in each, {failed or 'none'} failed "
        "([table](docs/versions.md))."
    )
    return textwrap.fill(line, 120, break_long_words=False, break_on_hyphens=False)


def minor(result: dict) -> str:
    return ".".join(result["versions"]["python"].split(".")[:2])


def texts() -> dict[Path, str]:
    """What the files should hold."""
    results = read()
    return {
        TABLE: table(results),
        README: LINE.sub(lambda found: f"{found[1]}{sentence(results)}\n{found[3]}", README.read_text()),
    }


def out_of_date() -> list[str]:
    """One sentence for each file that is not what the results give."""
    return [
        f"{path.relative_to(ROOT)} is not what results.json gives; run python tests/versions/version_table.py"
        for path, text in texts().items()
        if not path.exists() or path.read_text() != text
    ]


def merge(name: str, result: dict) -> None:
    """Puts a row in its place and writes everything again."""
    results = read() | {name: result}
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    partial.replace(RESULTS)
    write()


def write() -> None:
    for path, text in texts().items():
        path.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/versions/version_table.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    if not parser.parse_args().check:
        write()
        return 0
    differences = out_of_date()
    print("\n".join(differences or ["docs/versions.md and README.md are what results.json gives"]))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
