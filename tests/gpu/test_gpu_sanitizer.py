"""compute-sanitizer over sanitizer_cases.py: no access out of bounds, no race in shared memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.backends("cuda", "triton"),
    pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="compute-sanitizer is not on PATH"),
]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOUND = 9  # compute-sanitizer's exit code where it found something; the script's own failures give another


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_finds_nothing(backend, tool):
    # Without PyTorch's cache every tensor ends where its allocation ends.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(FOUND)]
    run = subprocess.run(
        [*command, sys.executable, str(HERE / "sanitizer_cases.py"), backend],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"{run.stdout[-4000:]}\n{run.stderr[-4000:]}"
