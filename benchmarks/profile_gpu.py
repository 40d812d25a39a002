"""Each Triton kernel's time, beside the bytes and FLOPs it has to move and do: python -m benchmarks.profile_gpu --help

The fraction is the kernel's own floor, the slower of arithmetic and memory at the measured ceilings, over its time.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import machine
from benchmarks.candidates import OURS, build_step
from benchmarks.cell import Cell, make_embeddings
from benchmarks.device import CudaDevice
from benchmarks.loss import RESULTS
from benchmarks.roofline import Ceilings, measure_ceilings, roofline
from benchmarks.triton_cell import parse_cell
from bt_kernels.backends.triton import heuristics
from bt_kernels.formulation import choose_formulation

WARM_UP, CALLS = 5, 20


class Work(NamedTuple):
    """Of all launches of a kernel in one forward and backward, operands read once each."""

    bytes: int
    flops: int = 0

    def seconds(self, ceilings: Ceilings) -> float:
        return max(self.flops / ceilings.flops_per_second, self.bytes / ceilings.bytes_per_second)


def expected_work(cell: Cell, partial_bytes: int) -> dict[str, Work]:
    """By kernel. partial_bytes: gram_tiles' partial tiles of K; those of a split correlation are not counted."""
    n, d = cell.n, cell.d
    views = cell.embeddings_bytes  # of both, as z, y or dz
    product = 2 * 4 * n * d  # float32, both views
    if choose_formulation("auto", n, d) == "gram":
        k = 2 * n * n * cell.itemsize
        return {
            "standardize": Work(2 * views),
            "gram_tiles": Work(views + partial_bytes, 2 * n * n * d),
            "gram_combine": Work(partial_bytes + k),
            "gram_gradient": Work(2 * views + k, 4 * n * n * d),
            "gram_product": Work(views + k + product, 4 * n * n * d),
            "gram_apply": Work(2 * views + product),
        }
    c = d * d * cell.itemsize
    return {
        "standardize": Work(2 * views),
        "correlation_tiles": Work(views + c, 2 * n * d * d),
        "correlation_gradient": Work(2 * (views + c) + views, 4 * n * d * d),  # one launch a view
    }


def gram_partial_bytes(cell: Cell, device: CudaDevice) -> int:
    """As the backend splits the features. Imports it here: without Triton it is parse_cell that should say so."""
    from bt_kernels.backends.triton.gram import gram_splits
    from bt_kernels.backends.triton.launch import operands, padded, properties

    kind, gpu = operands(cell.torch_dtype), properties(device.torch_device)
    tile = heuristics.pick(heuristics.GRAM_TILES, kind.kind, cell.n, kind.itemsize, gpu)
    splits, _ = gram_splits(cell.n, padded(cell.d), tile, kind.itemsize, gpu)
    side = -(-cell.n // tile.m)
    return 4 * splits * side * (side + 1) * tile.m * tile.n


def kernel_times(device: CudaDevice, cell: Cell, calls: int) -> dict[str, list[float]]:
    """Microseconds of every launch in that many calls, by kernel, L2 flushed before each call."""
    views = make_embeddings(cell)
    step = build_step(OURS, cell, *views)
    scratch = torch.empty(4 * device.l2_bytes, dtype=torch.uint8, device=device.torch_device)

    def call() -> None:
        for z in views:
            z.grad = None
        scratch.zero_()  # a memset, which is left out below by its name
        step()

    for _ in range(WARM_UP):
        call()
    torch.cuda.synchronize(device.torch_device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
        for _ in range(calls):
            call()
        torch.cuda.synchronize(device.torch_device)
    times: dict[str, list[float]] = {}
    for event in recorded.events():
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith("Memset"):
            times.setdefault(event.name, []).append(event.time_range.elapsed_us())
    return times


def report(times: dict[str, list[float]], work: dict[str, Work], ceilings: Ceilings, calls: int) -> list[dict]:
    """One entry per kernel, slowest first."""
    entries = []
    for kernel, microseconds in times.items():
        name = kernel.split("_kernel")[0]
        entry = {"kernel": kernel, "launches": len(microseconds) / calls, "us": sum(microseconds) / calls}
        if name in work:
            floor = 1e6 * work[name].seconds(ceilings)
            entry |= {"kernel": name, **work[name]._asdict(), "floor_us": floor, "fraction": floor / entry["us"]}
        entries.append(entry)
    return sorted(entries, key=lambda entry: -entry["us"])


def line(e: dict) -> str:
    found = f"{e['kernel'][:25]:<26}{e['launches']:>9g}{e['us']:>10.1f}"
    if "floor_us" not in e:
        return found
    return f"{found}{e['bytes'] / 1e6:>10.1f}{e['flops'] / 1e9:>10.1f}{e['floor_us']:>10.1f}{e['fraction']:>10.2f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, metavar="RESULT.json", help="default: among the results")
    options, cell, device = parse_cell(parser, arguments)
    if not isinstance(device, CudaDevice):
        parser.error(f"--device {options.device}: there are no kernels to profile")
    ceilings = measure_ceilings(device, cell)
    floor = roofline(cell, ceilings)
    with cell.products():
        work = expected_work(cell, gram_partial_bytes(cell, device))
        entries = report(kernel_times(device, cell, CALLS), work, ceilings, CALLS)
    result = {
        "benchmark": "profile",
        "cell": cell.as_dict(),
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, cell),
        "git": machine.describe_commit(),
        "ceilings": ceilings._asdict(),
        "roofline": floor._asdict(),
        "kernels": entries,
    }
    where = f"{machine.device_slug(device)}-{cell.operands}-n{cell.n}-d{cell.d}"
    output = options.output or RESULTS / f"profile-{where}.json"
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{machine.device_line(device)}; {cell.operands}, N = {cell.n}, D = {cell.d}; us per forward + backward")
    print(f"{'kernel':<26}{'launches':>9}{'us':>10}{'MB':>10}{'GFLOP':>10}{'floor us':>10}{'fraction':>10}")
    print(*map(line, entries), sep="\n")
    print(
        f"kernels together {sum(entry['us'] for entry in entries):.1f} us, roofline {1e3 * floor.ms:.1f} us ({floor.bound}); wrote {output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
