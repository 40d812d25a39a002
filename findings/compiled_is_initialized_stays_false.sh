#!/usr/bin/env bash
# torch 2.13.0: torch.compile takes torch.distributed.is_initialized() for a constant and does not guard it. What was
# compiled before init_process_group still sees False afterwards.
#
# Seen: a function that adds 1 where is_initialized() is true, compiled with backend "eager" and called before there is a
# default group, returns 0. After init_process_group (gloo, one rank) the same compiled function still returns 0; not
# compiled it returns 1. A loss that asks this way leaves out the other ranks without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY'
import torch
import torch.distributed as dist


def add_one_where_initialized(x):
    return x + 1 if dist.is_initialized() else x


zero = torch.zeros(())
compiled = torch.compile(add_one_where_initialized, backend="eager", fullgraph=True)
before = compiled(zero).item()
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
after, right = compiled(zero).item(), add_one_where_initialized(zero).item()
dist.destroy_process_group()
print(f"torch {torch.__version__}: compiled before the group {before}, after {after}; not compiled {right}")
assert (before, right) == (0.0, 1.0), "is_initialized() is not as meant"
assert after == 0.0, "torch.compile's view of is_initialized() has changed"
PY
