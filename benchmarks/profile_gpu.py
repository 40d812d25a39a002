"""Each kernel's time, beside the bytes and FLOPs it has to move and do: python -m benchmarks.profile_gpu --help

The fraction is the kernel's own floor, the slower of arithmetic and memory at the measured ceilings, over its
time. A kernel of the cuda backend may start before the previous one has ended and wait for it: that is in its time
too.
"""

import re
import sys

import torch

from benchmarks.gpu.kernel_command import parse_cell
from benchmarks.gpu.kernel_work import Work, cuda_split_tiles_bytes, expected_work, triton_split_tiles_bytes
from benchmarks.shared import machine, result_file
from benchmarks.shared.candidates import OURS, build_step
from benchmarks.shared.cell import Cell, make_embeddings
from benchmarks.shared.command import Command
from benchmarks.shared.device import CudaDevice
from benchmarks.shared.roofline import Ceilings, measure_ceilings, roofline

WARM_UP, CALLS = 5, 20


def split_tiles_bytes(cell: Cell, device: CudaDevice) -> int:
    if cell.backend == "triton":
        return triton_split_tiles_bytes(cell, device)
    gpu = torch.cuda.get_device_properties(device.torch_device)
    return cuda_split_tiles_bytes(cell, gpu.multi_processor_count, (gpu.major, gpu.minor))


def kernel_times(device: CudaDevice, cell: Cell, calls: int) -> dict[str, list[float]]:
    """Microseconds of every launch in that many calls, by kernel, L2 flushed before each call."""
    views = make_embeddings(cell)
    step = build_step(OURS, cell, *views)
    scratch = torch.empty(4 * device.l2_bytes, dtype=torch.uint8, device=device.torch_device)

    def call() -> None:
        views.clear()
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


def kernel_name(found: str, known: dict[str, Work]) -> str:
    """Triton's gram_tiles_kernel and every instance of C++'s bt::cuda::gram_tiles_kernel, mangled or not, are
    gram_tiles; a kernel that is not known keeps its name."""
    for name in known:
        if re.search(rf"(?<![A-Za-z_]){name}_kernel", found):
            return name
    return found


def report(times: dict[str, list[float]], work: dict[str, Work], ceilings: Ceilings, calls: int) -> list[dict]:
    """One entry per kernel, slowest first."""
    by_name: dict[str, list[float]] = {}
    for found, microseconds in times.items():
        by_name.setdefault(kernel_name(found, work), []).extend(microseconds)
    entries = []
    for name, microseconds in by_name.items():
        entry = {"kernel": name, "launches": len(microseconds) / calls, "us": sum(microseconds) / calls}
        if name in work:
            floor = 1e6 * work[name].seconds(ceilings)
            entry |= {**work[name]._asdict(), "floor_us": floor, "fraction": floor / entry["us"]}
        entries.append(entry)
    return sorted(entries, key=lambda entry: -entry["us"])


HEAD = (
    f"{'kernel':<26}{'launches':>9}{'us':>10}{'MB':>10}{'L2 MB':>10}{'GFLOP':>10}{'floor us':>10}{'fraction':>10}"
)


def line(e: dict) -> str:
    found = f"{e['kernel'].removeprefix('void ')[:25]:<26}{e['launches']:>9g}{e['us']:>10.1f}"
    if "floor_us" not in e:
        return found
    counts = f"{e['bytes'] / 1e6:>10.1f}{e['l2_bytes'] / 1e6:>10.1f}{e['flops'] / 1e9:>10.1f}"
    return f"{found}{counts}{e['floor_us']:>10.1f}{e['fraction']:>10.2f}"


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = Command(
        "profile_gpu",
        "Times each kernel of a forward + backward on a GPU, and shows the bytes and FLOPs that it has to move "
        "and do, and what share of its time their floor is. Writes a JSON file.",
        {
            "--backend cuda --n 1024 --d 8192": "the cuda backend at one shape",
            "--dtype tf32 --n 4096": "the triton backend at another",
        },
        "0 measured; 2 bad arguments, or no GPU.",
    )
    parser.output("benchmarks/results/profile-DEVICE-DTYPE-nN-dD.json")
    options, cell, device = parse_cell(parser, arguments, ("triton", "cuda"))
    if not isinstance(device, CudaDevice):
        parser.error(f"--device {options.device}: there are no kernels to profile")
    ceilings = measure_ceilings(device, cell)
    floor = roofline(cell, ceilings)
    with cell.products():
        work = expected_work(cell, split_tiles_bytes(cell, device))
        times = kernel_times(device, cell, CALLS)
        entries = report(times, work, ceilings, CALLS)
    result = {
        **machine.head("profile", parser.line(arguments)),
        "complete": True,
        "cell": cell.as_dict(),
        "machine": machine.describe_machine(device),
        "versions": machine.describe_versions(device, cell),
        "ceilings": ceilings._asdict(),
        "roofline": floor._asdict(),
        "kernels": entries,
    }
    backend = "" if cell.backend == "triton" else f"-{cell.backend}"
    where = f"{machine.device_slug(device)}{backend}-{cell.operands}-n{cell.n}-d{cell.d}"
    output = options.output or result_file.RESULTS / f"profile-{where}.json"
    result_file.write_json(output, result)
    print(f"{machine.device_line(device)}; {cell.backend} backend, {cell.operands}, N = {cell.n}, D = {cell.d}")
    print(f"per forward + backward\n{HEAD}")
    print(*map(line, entries), sep="\n")
    together = sum(entry["us"] for entry in entries)
    print(f"kernels together {together:.1f} us, roofline {1e3 * floor.ms:.1f} us ({floor.bound}); wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
