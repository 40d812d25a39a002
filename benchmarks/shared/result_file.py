"""The result file: JSON with everything, and a CSV of one line per cell and candidate beside it."""

import argparse
import csv
import json
import os
from pathlib import Path

from benchmarks.shared.candidates import CUDA, OURS, TRITON

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"

SPEEDUPS = {"speedup_of_bt_kernels": OURS, "speedup_of_triton": TRITON.called, "speedup_of_cuda": CUDA.called}

FIELDS = (
    *(
        "passes",
        "n",
        "d",
        "candidate",
        "status",
        "ms_q20",
        "ms_q50",
        "ms_q80",
        "rounds",
        "peak_bytes",
        "peak_over_embeddings",
    ),
    *SPEEDUPS,
    *("loss_error", "gradient_error", "reason", "roofline_ms", "over_roofline"),
)


def path(text: str) -> Path:
    """A file or folder on a command line; a shell leaves the ~ of ``--option=~/file`` as it is."""
    return Path(os.path.expanduser(text))


def json_path(text: str) -> Path:
    """A result on a command line, beside which other files get its name with another ending."""
    if not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .json, got {text}")
    return path(text)


def write_json(path: Path, result: dict) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.partial")
    unfinished.write_text(json.dumps(result, indent=1, allow_nan=True) + "\n")
    unfinished.replace(path)


def write(path: Path, result: dict) -> None:
    """Writes RESULT.json and RESULT.csv."""
    write_json(path, result)
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for cell in result["cells"]:
            for name, entry in cell["candidates"].items():
                writer.writerow({"passes": "forward + backward", **row(cell, cell["ratios"], name, entry)})
                if "forward" in entry:
                    found = row(cell, cell["forward_ratios"], name, entry["forward"])
                    writer.writerow({**found, "passes": "forward", "roofline_ms": None})


def row(cell: dict, ratios: dict, name: str, entry: dict) -> dict:
    times, peak = entry.get("ms", {}), entry.get("peak_bytes")
    return {
        "n": cell["n"],
        "d": cell["d"],
        "candidate": name,
        **{key: entry.get(key) for key in ("status", "rounds", "loss_error", "gradient_error", "reason")},
        **{f"ms_{q}": times.get(q) for q in ("q20", "q50", "q80")},
        "peak_bytes": peak,
        "peak_over_embeddings": None if peak is None else peak / cell["embeddings_bytes"],
        **{field: ratios.get(f"{name}/{ours}", {}).get("q50") for field, ours in SPEEDUPS.items()},
        "roofline_ms": cell.get("roofline", {}).get("ms"),
        "over_roofline": ratios.get(f"{name}/roofline", {}).get("q50"),
    }


def read(path: Path, *benchmarks: str) -> dict:
    """Raises ValueError unless the file is a result of one of these benchmarks."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(result, dict) or result.get("benchmark") not in benchmarks:
        raise ValueError(f"{path} is no result file of benchmarks.{', benchmarks.'.join(benchmarks)}")
    return result


def first_line(error: Exception) -> str:
    """The reason that a result file gives in the place of numbers."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
