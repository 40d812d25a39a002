#!/usr/bin/env bash
# torch 2.11.0: torch.compiler.is_exporting() is true where torch.compile traces. It is to be true under torch.export
# alone, so a library that refuses or changes something there does so under every torch.compile.
#
# Seen: a function that adds 1 where is_exporting() is true returns 0 for 0, and compiled with backend "eager" 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.11.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY'
import torch


def add_one_where_exporting(x):
    return x + 1 if torch.compiler.is_exporting() else x


zero = torch.zeros(())
compiled = torch.compile(add_one_where_exporting, backend="eager", fullgraph=True)(zero).item()
plain = add_one_where_exporting(zero).item()
print(f"torch {torch.__version__}: is_exporting() adds {plain}, compiled {compiled}")
assert plain == 0.0, "is_exporting() is true without torch.export and torch.compile"
assert compiled == 1.0, "torch.compile is not taken for torch.export any more"
PY
