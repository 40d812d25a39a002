"""The case whose C could not exist: N = 256, D = 262144. One fresh process, its peak memory in all.

In all means everything: interpreter, libraries, embeddings, gradients. On a CPU the process's peak resident size,
on CUDA what the caching allocator has reserved. The correctness check runs in the same process, after the reading.

The worker: python -m benchmarks.loss.in_all REQUEST, with REQUEST as run_in_all writes it; prints one JSON line.
"""

import json
import sys

import torch

from benchmarks.loss.targets import IN_ALL, judge
from benchmarks.shared.candidates import OURS, build_step
from benchmarks.shared.cell import Cell, make_embeddings
from benchmarks.shared.correctness import errors, truth
from benchmarks.shared.device import CudaDevice, Device, open_device
from benchmarks.shared.measure import quantiles
from benchmarks.shared.memory import resident_bytes
from benchmarks.shared.worker import run_worker

N, D, CALLS = 256, 262144, 4


def run_in_all(cell: Cell, threads: int) -> dict:
    """The case's entry in the result file."""
    entry, ended = run_worker("benchmarks.loss.in_all", {"cell": cell.as_dict(), "threads": threads})
    if not entry:
        return {"status": "unavailable", "reason": ended, "targets": []}
    return {**entry, "targets": [judge(IN_ALL, entry["peak_bytes_in_all"], entry)]}


def measure(request: dict) -> dict:
    torch.set_num_threads(request["threads"])
    cell = Cell(**request["cell"])
    device = open_device(cell.device)
    with cell.products():
        return measure_on(device, cell)


def measure_on(device: Device, cell: Cell) -> dict:
    views = make_embeddings(cell)
    step = build_step(OURS, cell, *views)
    seconds, losses = [], []
    for _ in range(CALLS):
        views.clear()
        seconds.append(device.time(lambda: losses.append(step())))
    if isinstance(device, CudaDevice):
        peak = torch.cuda.max_memory_reserved(device.torch_device)
    else:
        # Not getrusage's ru_maxrss: a process begins with that of the one that started it.
        peak = resident_bytes("VmHWM")
    found = errors(losses[-1], tuple(z.grad for z in views), truth(*views), cell.loss_scale)
    return {
        "status": "ok" if found.within(cell.operands) else "FAIL",
        "n": cell.n,
        "d": cell.d,
        "ms": quantiles([1e3 * s for s in seconds[1:]])._asdict(),
        "loss_error": found.loss,
        "gradient_error": found.gradient,
        "embeddings_bytes": cell.embeddings_bytes,
        "cross_correlation_bytes": cell.d * cell.d * cell.itemsize,
        "peak_bytes_in_all": peak,
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
