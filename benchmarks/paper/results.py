"""The result file: a head that says what was run, and an entry for every finished run, written as it finishes."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.paper.grid import Run, Scale
from benchmarks.paper.losses import CROSS_ENTROPY_LAMBD, INFO_NCE_TEMPERATURE
from benchmarks.paper.networks import LAYERS
from benchmarks.shared.result_file import read, write_json

BENCHMARK = "paper"
# What says how many runs there are, and nothing of their numbers: a grid can grow.
EXTENT = ("name", "table_seeds", "sweep_seeds", "batches", "widths", "lambdas")


class Mixed(ValueError):
    """The file was made with another configuration."""


def configuration(scale: Scale, data: str, device: str) -> dict:
    """What decides a run's numbers besides its own settings; runs of different ones do not go into one file."""
    return json.loads(json.dumps(
        {
            "data": data,
            "device": device,
            "training": {name: value for name, value in asdict(scale).items() if name not in EXTENT},
            "small_backbone": LAYERS,
            "cross_entropy_lambda": CROSS_ENTROPY_LAMBD,
            "info_nce_temperature": INFO_NCE_TEMPERATURE,
            "optimizer": "AdamW, weight decay 1e-4, 10 % warm-up, cosine; peak rate x sqrt(batch / reference)",
        }
    ))  # fmt: skip


class Store:
    """The finished runs, on the disk after each.

    Args:
        path: The file; if it exists, its runs are kept.
        head: Of machine.head, and what else the file says of where its numbers came from; "configuration" must be
            the file's.

    Raises:
        Mixed: the file was made with another configuration.
        ValueError: it is no result of this benchmark.
    """

    def __init__(self, path: Path, head: dict) -> None:
        self.path = path
        if path.exists():
            self.result = read(path, BENCHMARK)
            differing = differences(self.result["configuration"], head["configuration"])
            if differing:
                raise Mixed(f"{path} was made with other settings ({'; '.join(differing)}); use another --output")
            self.result |= {"complete": False, "grid": head["grid"]}
        else:
            self.result = {**head, "runs": {}}

    def missing(self, runs: list[Run]) -> list[Run]:
        """Those that the file does not have yet."""
        return [run for run in runs if run.key not in self.result["runs"]]

    def add(self, run: Run, entry: dict) -> None:
        """Write a finished run."""
        self.result["runs"][run.key] = entry
        self.write()

    def finish(self, runs: list[Run]) -> None:
        """Say that all runs are there, if they are."""
        self.result["complete"] = not self.missing(runs)
        self.write()

    def write(self) -> None:
        write_json(self.path, self.result)


def differences(saved: dict, given: dict, prefix: str = "") -> list[str]:
    """Return what differs, as "name: saved, now given"."""
    found = []
    for name in sorted(set(saved) | set(given)):
        old, new = saved.get(name), given.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {old}, now {new}")
    return found
