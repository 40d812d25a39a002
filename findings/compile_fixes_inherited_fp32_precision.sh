#!/usr/bin/env bash
# torch 2.13.0: the first torch.compile of anything writes the precision of float32 products, which matmul had inherited,
# down as matmul's own. From then on torch.backends.fp32_precision has no effect on matmul, and there is no warning.
#
# Seen: torch.backends.fp32_precision = "ieee", then "tf32", makes torch.backends.cuda.matmul.fp32_precision "ieee", then
# "tf32". With the compilation of x + 1 between the two, backend "eager", matmul's stays "ieee".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY'
import torch


def matmul_after(*steps):
    """matmul's precision after each value of the general setting; "compile" compiles something."""
    found = []
    for step in steps:
        if step == "compile":
            torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
        else:
            torch.backends.fp32_precision = step
        found.append(torch.backends.cuda.matmul.fp32_precision)
    return found


plain = matmul_after("ieee", "tf32")
compiled = matmul_after("ieee", "compile", "tf32")
print(f"torch {torch.__version__}: matmul's precision {plain}, with a compilation between {compiled}")
assert plain == ["ieee", "tf32"], "matmul does not inherit without torch.compile either"
assert compiled == ["ieee", "ieee", "ieee"], "torch.compile's doing has changed"
PY
