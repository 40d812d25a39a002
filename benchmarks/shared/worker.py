"""A measurement in a process of its own: python -m MODULE REQUEST, which prints JSON objects, one a line."""

import json
import subprocess
import sys

from benchmarks.shared.result_file import ROOT


def run_worker(module: str, request: dict) -> tuple[dict, str]:
    """What the worker's objects hold together, and how it ended, for what they lack."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(request)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found: dict = {}
    for line in done.stdout.splitlines():
        found.update(json.loads(line))
    last_words = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return found, f"worker exit {done.returncode}, {last_words}"
